//! A dashboard as it stands in its file, and what its variables stand for.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What Grafana puts in for its own variables, over a month.
const OWN: [(&str, &str); 4] =
    [("$__rate_interval", "5m"), ("$__interval", "1d"), ("$__range_s", "2592000"), ("$__range", "30d")];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) struct Board {
    pub(crate) json: Value,
    pub(crate) variables: Vec<Variable>,
    /// With the headings.
    pub(crate) all: Vec<Panel>,
    /// Without them.
    pub(crate) panels: Vec<Panel>,
}

pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) json: Value,
}

#[derive(Clone)]
pub(crate) struct Panel {
    pub(crate) json: Value,
    pub(crate) targets: Vec<Target>,
}

#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) reference: String,
    pub(crate) expr: String,
    pub(crate) legend: String,
    pub(crate) is_instant: bool,
    pub(crate) is_table: bool,
}

/// All of them, by the name of their file.
pub(crate) fn boards() -> BTreeMap<String, Board> {
    let folder = root().join("grafana");
    let entries = std::fs::read_dir(&folder).expect("grafana/ can be read");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let is_board = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    files
        .filter(is_board)
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("it can be read");
            let json =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (name, Board::new(json))
        })
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

impl Board {
    fn new(json: Value) -> Board {
        let variables = items(&json["templating"]["list"])
            .map(|variable| Variable { name: text(&variable["name"]), json: variable.clone() })
            .collect();
        let all: Vec<Panel> = items(&json["panels"]).map(Panel::new).collect();
        let panels = all.iter().filter(|panel| panel.kind() != "row").cloned().collect();
        Board { json, variables, all, panels }
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|variable| variable.name == name)
    }

    /// All that variables can be used in.
    pub(crate) fn text(&self) -> String {
        let queries = self.panels.iter().flat_map(|panel| &panel.targets).map(|target| target.expr.clone());
        let definitions = self.variables.iter().map(|variable| text(&variable.json["definition"]));
        queries.chain(definitions).collect::<Vec<_>>().join("\n")
    }

    /// A query without variables. One that stands for a label's name makes one query for each of its options.
    ///
    /// # Panics
    /// A variable is not there.
    pub(crate) fn resolved(&self, query: &str) -> Vec<String> {
        self.filled(query, &OWN, &|_| "any".to_owned())
    }

    /// The same with such values of Grafana's own variables, and of those that are asked for.
    ///
    /// # Panics
    /// A variable is not there.
    pub(crate) fn filled(
        &self,
        query: &str,
        own: &[(&str, &str)],
        chosen: &dyn Fn(&Variable) -> String,
    ) -> Vec<String> {
        let mut made =
            vec![own.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value))];
        for variable in &self.variables {
            let (shown, plain) = (format!("${{{}:text}}", variable.name), format!("${}", variable.name));
            let options: Vec<&Value> = items(&variable.json["options"]).collect();
            if query.contains(&shown) {
                let texts: Vec<String> = options.iter().map(|option| text(&option["text"])).collect();
                assert!(!texts.is_empty(), "{shown} has no options");
                made = made
                    .iter()
                    .flat_map(|query| texts.iter().map(|text| query.replace(&shown, text)))
                    .collect();
            }
            let value = options.first().map_or_else(|| chosen(variable), |option| text(&option["value"]));
            for query in &mut made {
                *query = replaced(query, &plain, &value);
            }
        }
        for query in &made {
            // `$1` is the first group of a label_replace.
            let rest = query.replace("$1", "");
            assert!(!rest.contains('$'), "a variable that the dashboard does not have: {query}");
        }
        made
    }
}

/// Replaces a variable, but none whose name only begins like it.
fn replaced(query: &str, name: &str, value: &str) -> String {
    let mut parts = query.split(name);
    let mut made = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let goes_on = part.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
        made.push_str(if goes_on { name } else { value });
        made.push_str(part);
    }
    made
}

impl Panel {
    fn new(json: &Value) -> Panel {
        let targets = items(&json["targets"])
            .map(|target| Target {
                reference: text(&target["refId"]),
                expr: text(&target["expr"]),
                legend: text(&target["legendFormat"]),
                is_instant: target["instant"] == true && target["range"] == false,
                is_table: target["format"] == "table",
            })
            .collect();
        Panel { json: json.clone(), targets }
    }

    pub(crate) fn kind(&self) -> &str {
        self.json["type"].as_str().unwrap_or_default()
    }

    pub(crate) fn title(&self) -> &str {
        self.json["title"].as_str().unwrap_or_default()
    }

    /// Column, line, width, height.
    pub(crate) fn place(&self) -> [u64; 4] {
        ["x", "y", "w", "h"].map(|key| self.json["gridPos"][key].as_u64().expect("a place"))
    }

    /// Of the panel and of each query.
    pub(crate) fn sources(&self) -> Vec<&Value> {
        let of_queries = items(&self.json["targets"]).map(|target| &target["datasource"]);
        std::iter::once(&self.json["datasource"]).chain(of_queries).collect()
    }

    /// Of the panel and of single columns.
    pub(crate) fn units(&self) -> Vec<String> {
        let config = &self.json["fieldConfig"];
        let own = config["defaults"]["unit"].as_str().map(str::to_owned);
        let looks = items(&config["overrides"]).flat_map(|look| items(&look["properties"]));
        own.into_iter()
            .chain(looks.filter(|look| look["id"] == "unit").map(|look| text(&look["value"])))
            .collect()
    }

    /// Of the panel and of single columns.
    pub(crate) fn links(&self) -> Vec<&Value> {
        let config = &self.json["fieldConfig"];
        let looks = items(&config["overrides"]).flat_map(|look| items(&look["properties"]));
        let of_columns = looks.filter(|look| look["id"] == "links").flat_map(|look| items(&look["value"]));
        items(&config["defaults"]["links"]).chain(of_columns).collect()
    }

    fn organized(&self) -> &Value {
        let step = items(&self.json["transformations"]).find(|step| step["id"] == "organize");
        step.map_or(&Value::Null, |step| &step["options"])
    }

    /// Fields that a table knows of: those it shows and those it hides.
    pub(crate) fn columns(&self) -> BTreeSet<String> {
        let keys = |name: &str| {
            self.organized()[name]
                .as_object()
                .into_iter()
                .flat_map(|map| map.keys().cloned())
                .collect::<Vec<_>>()
        };
        keys("indexByName").into_iter().chain(keys("excludeByName")).collect()
    }

    /// The names of the columns that a table shows.
    pub(crate) fn shown_columns(&self) -> BTreeSet<String> {
        self.organized()["renameByName"]
            .as_object()
            .into_iter()
            .flat_map(|map| map.values().map(text))
            .collect()
    }

    /// Whether a link can be given such a value: a variable, another column, or a label of the series.
    pub(crate) fn can_give(&self, board: &Board, value: &str) -> bool {
        let Some(inner) = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
            return false;
        };
        if let Some(label) = inner.strip_prefix("__field.labels.") {
            return self
                .targets
                .iter()
                .all(|target| target.legend_labels().iter().any(|known| known == label));
        }
        match inner.strip_prefix("__data.fields[\"").and_then(|rest| rest.strip_suffix("\"]")) {
            Some(column) => self.shown_columns().contains(column),
            None => board.variable(inner).is_some(),
        }
    }
}

impl Target {
    /// The labels that the legend names.
    pub(crate) fn legend_labels(&self) -> Vec<String> {
        let parts = self.legend.split("{{").skip(1);
        parts.filter_map(|part| part.split_once("}}")).map(|(label, _)| label.trim().to_owned()).collect()
    }
}

/// A row of data/equivalents.csv.
pub(crate) struct Equivalent {
    pub(crate) many: String,
    pub(crate) kind: String,
    pub(crate) per_unit: String,
}

pub(crate) fn equivalents() -> Vec<Equivalent> {
    let path = root().join("data/equivalents.csv");
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_path(path).expect("the table");
    let headers = reader.headers().expect("a header").clone();
    let at = |name: &str| headers.iter().position(|header| header == name).expect("a column");
    let (many, kind, per_unit) = (at("many"), at("kind"), at("per_unit"));
    let rows = reader.records().map(|row| row.expect("a row"));
    rows.map(|row| Equivalent {
        many: row[many].to_owned(),
        kind: row[kind].to_owned(),
        per_unit: row[per_unit].to_owned(),
    })
    .collect()
}
