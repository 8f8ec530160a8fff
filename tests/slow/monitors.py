"""Holds the objects of prometheus-operator in a file against its own types: monitors.py FILE. What a type does not know
is named, since the operator would drop it without a word."""

import sys
import typing

import yaml
from cloudcoil.models.prometheus_operator import v1
from pydantic import BaseModel


def model_in(annotation):
    """The type of ours within Optional, List and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (model_in(part) for part in typing.get_args(annotation))
    return next((model for model in found if model), None)


def unknown(model, value, place):
    if isinstance(value, list):
        return [key for item in value for key in unknown(model, item, place)]
    if not isinstance(value, dict):
        return []
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    found = []
    for key, inner in value.items():
        inside = model_in(fields[key].annotation) if key in fields else None
        if key not in fields:
            found.append(f"{place}.{key}")
        elif inside and key != "metadata":
            found += unknown(inside, inner, f"{place}.{key}")
    return found


checked = 0
with open(sys.argv[1]) as file:
    for document in yaml.safe_load_all(file):
        if document and document["apiVersion"] == "monitoring.coreos.com/v1":
            kind = document["kind"]
            model = getattr(v1, kind)
            model.model_validate(document)
            if keys := unknown(model, document, kind):
                sys.exit(f"{', '.join(keys)} is nothing that prometheus-operator knows")
            checked += 1
print(checked)
