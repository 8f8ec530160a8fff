//! What a Prometheus answers to a query: series with one value or several, or what is wrong.

use hyper::StatusCode;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Of a text that is no answer this much is shown.
const MAX_SHOWN: usize = 120;

/// Why an answer is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It wants to know who asks.
    #[error(
        "it answers {status} (give --prometheus.user with --prometheus.password-file, or --prometheus.bearer-token-file)"
    )]
    Forbidden {
        /// What it says.
        status: StatusCode,
    },
    /// It could not, and says so.
    #[error("it refuses the query: {message}")]
    Query {
        /// Its words.
        message: String,
    },
    /// The query takes in more than it allows; a shorter one may pass.
    #[error(
        "it refuses even the shortest query: {message} (ask for fewer hosts, or raise --query.max-samples)"
    )]
    TooMuch {
        /// Its words.
        message: String,
    },
    /// Something else answers.
    #[error("it answers {status}, but not as a Prometheus: {shown:?} (is this the URL before /api/v1?)")]
    Foreign {
        /// What it says.
        status: StatusCode,
        /// How its answer begins.
        shown: String,
    },
}

/// An answer.
#[derive(Debug, Default)]
pub struct Answer {
    /// The series.
    pub series: Vec<Series>,
    /// What it warns of.
    pub warnings: Vec<String>,
}

/// A series: its labels, and values with the time that they are for, in s.
#[derive(Debug)]
pub struct Series {
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// Times and values.
    pub points: Vec<(f64, f64)>,
}

#[derive(Debug, Deserialize)]
struct Envelope {
    status: String,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: String,
    // Infos are left out: they are hints to authors of queries, who are not here.
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Data {
    result: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    value: Option<(f64, String)>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

/// Reads an answer.
///
/// # Errors
/// It is none.
pub fn read(status: StatusCode, body: &[u8]) -> Result<Answer, AnswerError> {
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        return Err(AnswerError::Forbidden { status });
    }
    let foreign = || {
        let text = String::from_utf8_lossy(&body[..body.len().min(4 * MAX_SHOWN)]);
        let shown = text.trim().chars().take(MAX_SHOWN).collect();
        AnswerError::Foreign { status, shown }
    };
    let envelope: Envelope = serde_json::from_slice(body).map_err(|_| foreign())?;
    if envelope.status == "error" {
        let message = envelope.error;
        let is_too_much = ["too many samples", "maximum resolution", "exceeds the limit"]
            .iter()
            .any(|words| message.contains(words));
        let timed_out = message.contains("timed out");
        return Err(match is_too_much || timed_out {
            true => AnswerError::TooMuch { message },
            false => AnswerError::Query { message },
        });
    }
    let data = envelope.data.filter(|_| envelope.status == "success" && status == StatusCode::OK);
    let items = data.ok_or_else(foreign)?.result;
    let series = items.into_iter().map(|item| {
        let points = item.value.into_iter().chain(item.values);
        // "NaN" and "+Inf" are values that no sum can use; they are as good as missing.
        let number = |(time, text): (f64, String)| {
            let value = text.parse::<f64>().ok().filter(|value| value.is_finite())?;
            Some((time, value))
        };
        Series { labels: item.metric, points: points.filter_map(number).collect() }
    });
    Ok(Answer { series: series.collect(), warnings: envelope.warnings })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str) -> Result<Answer, String> {
        let status = StatusCode::from_u16(status).expect("a status");
        read(status, body.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn vectors_and_matrices_are_read_alike() {
        let answer = check(
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[
                {"metric":{"host":"a\"b"},"value":[1794997600.781,"12.5"]},
                {"metric":{},"values":[[1,"1e+09"],[2,"NaN"],[3,"+Inf"],[4,"-1"]]}]},
                "warnings":["remote read failed"],"infos":["x"]}"#,
        )
        .expect("an answer");
        assert_eq!(answer.series[0].labels["host"], "a\"b");
        assert_eq!(answer.series[0].points, [(1_794_997_600.781, 12.5)]);
        assert_eq!(answer.series[1].points, [(1.0, 1e9), (4.0, -1.0)]);
        assert_eq!(answer.warnings, ["remote read failed"]);
    }

    #[test]
    fn what_is_no_answer_says_what_it_is() {
        let error = |status, words: &str| {
            check(status, &format!(r#"{{"status":"error","errorType":"x","error":"{words}"}}"#))
        };
        for (answer, part) in [
            (check(401, "Unauthorized"), "--prometheus.user"),
            (check(403, "{}"), "403"),
            (check(404, "<html>not here</html>"), "404 Not Found, but not as a Prometheus: \"<html>not here"),
            (check(200, "<html>Grafana</html>"), "/api/v1"),
            (check(200, "[]"), "not as a Prometheus"),
            (check(200, "{\"status\":\"success\"}"), "not as a Prometheus"),
            (
                check(
                    200,
                    "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[1,\"1\"]}}",
                ),
                "not as a Prometheus",
            ),
            (check(502, "bad gateway"), "502"),
            (check(200, ""), "not as a Prometheus"),
            (error(400, "parse error: unexpected )"), "refuses the query: parse error"),
            (error(422, "query processing would load too many samples into memory"), "--query.max-samples"),
            (error(400, "exceeded maximum resolution of 11,000 points"), "shortest query"),
            (error(503, "query timed out in expression evaluation"), "shortest query"),
        ] {
            let error = answer.err().unwrap_or_else(|| panic!("{part}: an answer"));
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }
}
