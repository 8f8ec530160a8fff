"""The parts of a dashboard: panels, variables, links, and the flow that gives each panel its place."""

TITLES = {
    "overview": "Overview",
    "cluster": "Clusters",
    "node": "Node",
    "jobs": "Jobs",
    "gpu": "Accelerators",
    "grid": "Grid and advice",
    "health": "Exporter health",
}

# 39 to 42 are what classic dashboards are up to Grafana 13; a newer server migrates them as it loads them.
SCHEMA_VERSION = 41
COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
JOULES_A_KWH = "3600000"

# Selectors of the variables. `.*` for all lets a label pass that nobody has set.
CLUSTER = 'cluster=~"$cluster"'
HOST = f'{CLUSTER},host=~"$host"'


def target(expr, legend="", *, instant=False):
    """A query, and what its series are called."""
    return {"expr": " ".join(expr.split()), "legend": legend, "instant": instant}


def now(expr, legend=""):
    """A query of the end of the range alone."""
    return target(expr, legend, instant=True)


def _targets(targets, is_table):
    made = []
    for ref, one in zip("ABCDEFGHIJKLMNOP", targets):
        made.append(
            {
                "refId": ref,
                "datasource": DATASOURCE,
                "editorMode": "code",
                "expr": one["expr"],
                "format": "table" if is_table else "time_series",
                "instant": one["instant"],
                "range": not one["instant"],
                "legendFormat": one["legend"] or "__auto",
            }
        )
    return made


def _panel(kind, title, description, targets, defaults, options, overrides=(), **more):
    return {
        "type": kind,
        "title": title,
        "description": " ".join(description.split()),
        "datasource": DATASOURCE,
        "targets": _targets(targets, kind == "table"),
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
        "options": options,
        **more,
    }


def steps(*pairs):
    """Thresholds: the first colour counts from the bottom, the others from their value on."""
    made = [{"color": color, "value": value} for value, color in pairs]
    return {"mode": "absolute", "steps": made}


# A range of its own. Of a past that was chosen Grafana leaves this out.
RECENT = {"timeFrom": "30m", "hideTimeOverride": True}

PLAIN = steps((None, "text"))
GOOD_AT_1 = steps((None, "red"), (1, "green"))
BAD_ABOVE_0 = steps((None, "green"), (0.000001, "orange"))


def stat(
    title,
    description,
    targets,
    unit,
    *,
    thresholds=PLAIN,
    decimals=None,
    absent="none",
    names=False,
    graph=False,
    recent=False,
):
    """Single large figures; `recent` ones are of now however long the chosen time is.

    A rate is the mean of a step, and a month has steps of an hour.
    """
    targets = [targets] if isinstance(targets, dict) else targets
    defaults = {"unit": unit, "color": {"mode": "thresholds"}, "thresholds": thresholds, "noValue": absent}
    if decimals is not None:
        defaults["decimals"] = decimals
    options = {
        "reduceOptions": {"values": False, "calcs": ["lastNotNull"], "fields": ""},
        "orientation": "auto",
        "textMode": "value_and_name" if names else "value",
        "colorMode": "value",
        "graphMode": "area" if graph else "none",
        "justifyMode": "auto",
        "wideLayout": True,
    }
    if names:
        # By itself it makes names as small as the longest needs.
        options["text"] = {"titleSize": 13, "valueSize": 26}
    more = RECENT if recent else {}
    return _panel("stat", title, description, targets, defaults, options, **more)


def series(
    title,
    description,
    targets,
    unit,
    *,
    stack=False,
    bars=False,
    legend="list",
    interval=None,
    floor=True,
    overrides=(),
    decimals=None,
    top=None,
):
    """Lines over time, or bars."""
    targets = [targets] if isinstance(targets, dict) else targets
    custom = {
        "drawStyle": "bars" if bars else "line",
        "barAlignment": 1 if bars else 0,
        "barWidthFactor": 0.8,
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": 80 if bars else 40 if stack else 0,
        "gradientMode": "none",
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stack else "none", "group": "A"},
        "axisPlacement": "auto",
        "axisLabel": "",
        "scaleDistribution": {"type": "linear"},
        "thresholdsStyle": {"mode": "off"},
    }
    defaults = {"unit": unit, "color": {"mode": "palette-classic"}, "custom": custom, "thresholds": PLAIN}
    if floor:
        defaults["min"] = 0
    if top is not None:
        defaults["max"] = top
    if decimals is not None:
        defaults["decimals"] = decimals
    place = {"list": "bottom", "table": "right"}[legend]
    calcs = ["mean", "max"] if legend == "table" and not bars else ["sum"] if legend == "table" else []
    options = {
        "legend": {"displayMode": legend, "placement": place, "showLegend": True, "calcs": calcs},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    more = {"interval": interval} if interval else {}
    return _panel("timeseries", title, description, targets, defaults, options, overrides, **more)


def bars(
    title, description, targets, unit, *, thresholds=None, top=None, decimals=None, absent="none", links=()
):
    """Horizontal bars, the largest first as the query sorts them."""
    targets = [targets] if isinstance(targets, dict) else targets
    color = {"mode": "thresholds"} if thresholds else {"mode": "palette-classic"}
    defaults = {"unit": unit, "min": 0, "color": color, "thresholds": thresholds or PLAIN, "noValue": absent}
    if top is not None:
        defaults["max"] = top
    if decimals is not None:
        defaults["decimals"] = decimals
    if links:
        defaults["links"] = list(links)
    options = {
        "reduceOptions": {"values": False, "calcs": ["lastNotNull"], "fields": ""},
        "orientation": "horizontal",
        "displayMode": "basic",
        "valueMode": "text",
        "showUnfilled": True,
        "namePlacement": "auto",
        "sizing": "manual",
        "minVizWidth": 8,
        "minVizHeight": 16,
        "maxVizHeight": 36,
    }
    return _panel("bargauge", title, description, targets, defaults, options)


def column(
    name,
    unit=None,
    *,
    width=None,
    cell=None,
    thresholds=None,
    link=None,
    decimals=None,
    mappings=None,
    top=None,
    absent=None,
):
    """How a column of a table looks."""
    properties = []
    if unit:
        properties.append({"id": "unit", "value": unit})
    if decimals is not None:
        properties.append({"id": "decimals", "value": decimals})
    if width:
        properties.append({"id": "custom.width", "value": width})
    if thresholds:
        properties.append({"id": "thresholds", "value": thresholds})
        properties.append({"id": "color", "value": {"mode": "thresholds"}})
    if cell:
        properties.append({"id": "custom.cellOptions", "value": cell})
    if cell == GAUGE and not thresholds:
        thresholds = steps((None, "blue"))
        properties += [
            {"id": "thresholds", "value": thresholds},
            {"id": "color", "value": {"mode": "thresholds"}},
        ]
    if top is not None:
        properties += [{"id": "min", "value": 0}, {"id": "max", "value": top}]
    if link:
        properties.append({"id": "links", "value": [link]})
    if mappings:
        properties.append({"id": "mappings", "value": mappings})
    if absent is not None:
        properties.append({"id": "noValue", "value": absent})
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


COLORED = {"type": "color-background", "mode": "basic"}
INKED = {"type": "color-text"}
# In the colour of the column's thresholds.
GAUGE = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
YES_NO = [
    {
        "type": "value",
        "options": {
            "0": {"text": "no", "color": "red", "index": 0},
            "1": {"text": "yes", "color": "green", "index": 1},
        },
    }
]


def table(title, description, columns, *, sort=None, unit="short", labels=(), recent=False):
    """A table: `columns` is (name, target or label, look) from left to right, targets being merged by their labels.

    `labels` are those of the results that are not shown; a `recent` one is of now, as a figure may be.
    """
    targets, order, names, looks = [], {}, {}, []
    count = sum(1 for _, source, _ in columns if isinstance(source, dict))
    for place, (name, source, look) in enumerate(columns):
        if isinstance(source, dict):
            field = f"Value #{'ABCDEFGHIJKLMNOP'[len(targets)]}" if count > 1 else "Value"
            targets.append(source)
        else:
            field = source
        order[field] = place
        names[field] = name
        if look is not None:
            looks.append(column(name, **look))
    hidden = {name: True for name in ("Time", *labels)}
    organize = {"excludeByName": hidden, "indexByName": order, "renameByName": names}
    transformations = [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]
    defaults = {
        "unit": unit,
        "color": {"mode": "fixed", "fixedColor": "text"},
        "custom": {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False, "filterable": True},
        "thresholds": PLAIN,
        # It stands in every cell without a text too.
        "noValue": "–",
    }
    options = {
        "showHeader": True,
        "cellHeight": "sm",
        "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": ""},
        "sortBy": [{"displayName": sort, "desc": True}] if sort else [],
    }
    more = RECENT if recent else {}
    return _panel(
        "table", title, description, targets, defaults, options, looks, transformations=transformations, **more
    )


def named(expr, info, on):
    """With the label `name`: what people call a job, where that is known, and its id where it is not."""
    joined = f"{expr} * on ({on}) group_left (k8s_pod_name, slurm_job_name, container_name) {info}"
    for source in ("job_id", "container_name", "slurm_job_name", "k8s_pod_name"):
        joined = f'label_replace({joined}, "name", "$1", "{source}", "(.+)")'
    return joined


# Of these kinds an id means one job wherever it is seen.
_EVERYWHERE = "pod|slurm|run"


def placed(expr):
    """With the label `place`: the host of a job whose id means one job on that host alone, as a service's does."""
    joined = f'label_join({expr}, "place", "/", "job_kind", "host")'
    for pattern, text in ((f"({_EVERYWHERE})/.*", ""), (".+?/(.+)", "$1")):
        joined = f'label_replace({joined}, "place", "{text}", "place", "{pattern}")'
    return joined


def newest(info, by):
    """The newest description of each job in the range, as 1.

    A description grows as names become known, so that a range may hold several of one job. A step of five minutes
    is what a job stays on the page at least; what began after the last step is there now.
    """
    seen = f"(max_over_time(timestamp({info})[$__range:5m]) or timestamp({info}))"
    if "place" in by:
        seen = placed(seen)
    return f"(topk by ({by}) (1, {seen}) > bool 0)"


def dashed(reference):
    """A look for the series of one query."""
    look = {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [6, 6]}}
    return {"matcher": {"id": "byFrameRefID", "options": reference}, "properties": [look]}


def to(board, title, **variables):
    """A link from a value to another dashboard, of the same time, data source and clusters.

    Not of the row's own cluster: where nobody sets that label there is no such column.
    """
    query = "".join(f"&var-{name}={value}" for name, value in variables.items())
    if "cluster" not in variables:
        query = f"&${{cluster:queryparam}}{query}"
    return {
        "title": title,
        "url": f"/d/jouleprint-{board}?${{__url_time_range}}&${{datasource:queryparam}}{query}",
    }


def label(name):
    """The value of a label, in a link from a bar."""
    return "${__field.labels." + name + "}"


def cell(name):
    """The value of another column, in a link from a table."""
    return '${__data.fields["' + name + '"]}'


def choice(name, title, query, *, many=True, every=True, listed=False):
    """A variable whose values are those of a label; where `listed`, all of them are those of the list and no others."""
    made = {
        "name": name,
        "label": title,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"{name}-values", "qryType": 1},
        "regex": "",
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": many,
        "includeAll": every,
        "options": [],
        "current": {},
    }
    if every and not listed:
        made["allValue"] = ".*"
    if every:
        made["current"] = {
            "selected": True,
            "text": ["All"] if many else "All",
            "value": ["$__all"] if many else "$__all",
        }
    return made


def fixed(name, title, pairs, description):
    """A variable with given values; `${name:text}` is what is shown, `$name` what the link carries."""
    options = [
        {"selected": place == 0, "text": text, "value": value} for place, (text, value) in enumerate(pairs)
    ]
    return {
        "name": name,
        "label": title,
        "description": description,
        "type": "custom",
        "query": ", ".join(value if text == value else f"{text} : {value}" for text, value in pairs),
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "options": options,
        "current": {"selected": True, "text": pairs[0][0], "value": pairs[0][1]},
    }


def clusters():
    """The clusters there are; none has a name where nobody gives it one."""
    return choice("cluster", "Cluster", "label_values(cluster:hw_host_energy_joules:rate5m, cluster)")


def hosts(*, many=True, every=True):
    """The hosts of the chosen clusters."""
    return choice(
        "host", "Host", f"label_values(jouleprint_pue_ratio{{{CLUSTER}}}, host)", many=many, every=every
    )


def group_kinds():
    """One at a time: each kind divides all energy once, so that two kinds are never to be added."""
    query = f"label_values(group:jouleprint_group_energy_joules:rate5m{{{CLUSTER}}}, group_kind)"
    return choice("group_kind", "Grouped by", query, many=False, every=False)


class Board:
    """A dashboard in the making: panels flow from left to right and from top to bottom."""

    def __init__(self, name, description, variables, *, start, refresh):
        self.name, self.description, self.variables = name, description, variables
        self.start, self.refresh = start, refresh
        self.panels, self.x, self.y, self.height = [], 0, 0, 0

    def row(self, title):
        """A heading."""
        self._break()
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": self.y}
        self.panels.append(
            {
                "id": len(self.panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
        )
        self.y += 1

    def add(self, panel, width, height):
        """A panel, behind the one before where there is room."""
        if self.x + width > COLUMNS:
            self._break()
        place = {"h": height, "w": width, "x": self.x, "y": self.y}
        self.panels.append({"id": len(self.panels) + 1, **panel, "gridPos": place})
        self.x += width
        self.height = max(self.height, height)

    def _break(self):
        self.x, self.y, self.height = 0, self.y + self.height, 0

    def json(self):
        """The classic model."""
        datasource = {
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "refresh": 1,
            "regex": "",
            "hide": 0,
            "multi": False,
            "includeAll": False,
            "options": [],
            "current": {},
        }
        others = [name for name in TITLES if name != self.name]
        links = [
            {
                "type": "link",
                "title": TITLES[name],
                "url": f"/d/jouleprint-{name}",
                "icon": "dashboard",
                "tooltip": "",
                "tags": [],
                "asDropdown": False,
                "targetBlank": False,
                "keepTime": True,
                "includeVars": True,
            }
            for name in others
        ]
        return {
            "id": None,
            "uid": f"jouleprint-{self.name}",
            "title": f"jouleprint / {TITLES[self.name]}",
            "description": " ".join(self.description.split()),
            "tags": ["jouleprint", "energy", "carbon"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "fiscalYearStartMonth": 0,
            "liveNow": False,
            "weekStart": "",
            "timezone": "browser",
            "time": {"from": self.start, "to": "now"},
            "timepicker": {},
            "refresh": self.refresh,
            "annotations": {"list": []},
            "links": links,
            "templating": {"list": [datasource, *self.variables]},
            "panels": self.panels,
        }
