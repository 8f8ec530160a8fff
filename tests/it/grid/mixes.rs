//! What ENTSO-E and EIA say was generated, and what intensities are made of it.

use super::server::Does;
use super::{KEY, ask, key_in, lines, round};
use jouleprint::carbon::provider::Kind;
use jouleprint::model::reading::Fault;
use serde_json::{Value, json};
use std::fmt::Write;

const FRANCE: &str = "10YFR-RTE------C";

/// A series of a fuel: positions and amounts from 18:00 on.
fn series(fuel: &str, end: &str, resolution: &str, curve: &str, points: &[(u32, &str)]) -> String {
    let mut text = format!(
        "<TimeSeries><mRID>1</mRID><businessType>A01</businessType><inBiddingZone_Domain.mRID codingScheme=\"A01\">\
         {FRANCE}</inBiddingZone_Domain.mRID><quantity_Measure_Unit.name>MAW</quantity_Measure_Unit.name>\
         <curveType>{curve}</curveType><MktPSRType><psrType>{fuel}</psrType></MktPSRType><Period><timeInterval>\
         <start>2026-11-21T18:00Z</start><end>2026-11-21T{end}Z</end></timeInterval><resolution>{resolution}</resolution>"
    );
    for (position, amount) in points {
        write!(text, "<Point><position>{position}</position><quantity>{amount}</quantity></Point>").unwrap();
    }
    text + "</Period></TimeSeries>"
}

fn document(series: &[String]) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<GL_MarketDocument \
         xmlns=\"urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0\"><mRID>x</mRID>{}</GL_MarketDocument>",
        series.concat()
    )
}

#[test]
fn entsoe_fills_equal_points_and_waits_for_every_large_fuel() {
    let folder = tempfile::tempdir().unwrap();
    let pumping = series("B10", "20:00", "PT60M", "A03", &[(1, "900")])
        .replace("inBiddingZone_Domain", "outBiddingZone_Domain");
    let body = document(&[
        // Of four quarters the third is like the second, and the fifth to eighth like the fourth.
        series("B04", "20:00", "PT15M", "A03", &[(1, "1000"), (2, "2000"), (4, "0")]),
        // By the hour, and an hour behind.
        series("B14", "19:00", "PT60M", "A03", &[(1, "3000")]),
        pumping,
        series("B19", "20:00", "PT60M", "A01", &[(1, "10")]),
    ]);
    let (heard, asked) =
        round(Kind::Entsoe(key_in(&folder)), "FR", ask(0), move |_| Does::Says(body.clone()));
    assert_eq!(
        lines(&heard.unwrap()),
        [
            "average lifecycle production",
            // (1000 × 490 + 3000 × 12 + 10 × 11) / 4010, and so on: the hour without nuclear power is none.
            "18:00+15 131200 measured",
            "18:15+15 202816 measured",
            "18:30+15 202816 measured",
            "18:45+15 11997 measured",
        ]
    );
    assert_eq!(asked[0].path, "/api");
    assert_eq!(asked[0].headers["accept"], "application/xml", "and it is said once");
    for (name, value) in [
        ("securityToken", KEY),
        ("documentType", "A75"),
        ("processType", "A16"),
        ("in_Domain", FRANCE),
        // A day and an hour back, on whole hours.
        ("periodStart", "202611201900"),
        ("periodEnd", "202611212100"),
    ] {
        assert_eq!(asked[0].pair(name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn entsoe_without_data_or_with_other_data_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let whole = || series("B14", "19:00", "PT60M", "A03", &[(1, "3000")]);
    let nothing = "<Acknowledgement_MarketDocument xmlns=\"urn:x:7:0\"><Reason><code>999</code><text>No matching data \
                   found</text></Reason></Acknowledgement_MarketDocument>";
    for (body, fault, part) in [
        (nothing.to_owned(), Fault::Missing, "no data for these hours"),
        (document(&[]), Fault::Missing, "without a figure"),
        (document(&[whole().replace(FRANCE, "10YBE----------2")]), Fault::Malformed, "another area"),
        (document(&[whole().replace("MAW", "KWT")]), Fault::Malformed, "another unit"),
        (document(&[whole().replace("PT60M", "P1D")]), Fault::Malformed, "resolution"),
        (
            document(&[whole().replace("2026-11-21T18", "2016-11-21T18")]),
            Fault::Malformed,
            "more than four days",
        ),
        (
            document(&[whole().replace("<start>", "<star>").replace("</start>", "</star>")]),
            Fault::Malformed,
            "without a time",
        ),
        (document(&[whole().replace("B14", "B99")]), Fault::Malformed, "without a factor: B99"),
        ("<html><body>maintenance</body></html>".to_owned(), Fault::Malformed, "another kind"),
        ("<GL_MarketDocument>".to_owned(), Fault::Malformed, "no XML"),
        ("<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>".to_owned(), Fault::Malformed, "no XML"),
        ("PK\u{3}\u{4}zip".to_owned(), Fault::Malformed, "a zip archive"),
    ] {
        let (heard, _) =
            round(Kind::Entsoe(key_in(&folder)), "FR", ask(0), move |_| Does::Says(body.clone()));
        let refusal = heard.unwrap_err();
        assert!(refusal.fault == fault && refusal.message.contains(part), "{part}: {refusal:?}");
    }
}

fn row(hour: &str, fuel: &str, value: Value) -> Value {
    json!({"period": format!("2026-11-21T{hour}"), "respondent": "CISO", "fueltype": fuel, "value": value,
           "respondent-name": "California Independent System Operator", "value-units": "megawatthours"})
}

fn rows(rows: &[Value]) -> String {
    json!({"response": {"total": "9120", "frequency": "hourly", "data": rows}, "apiVersion": "2.1.8"})
        .to_string()
}

#[test]
fn eia_numbers_are_text_or_null_or_less_than_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let body = rows(&[
        // The newest hour has no gas yet.
        row("20", "NUC", json!(2_000)),
        row("20", "WAT", json!("1000")),
        row("20", "NG", Value::Null),
        row("19", "NG", json!("8123.5")),
        row("19", "NUC", json!(2_000)),
        row("19", "WAT", json!("1000")),
        // At night the panels draw, and the battery is filled.
        row("19", "SUN", json!("-30")),
        row("19", "BAT", json!(-700)),
        row("19", "XXX", json!(5)),
    ]);
    let (heard, asked) =
        round(Kind::Eia(key_in(&folder)), "US-CAL-CISO", ask(0), move |_| Does::Says(body.clone()));
    // Called by its end; (8123.5 × 490 + 2000 × 12 + 1000 × 24) / 11123.5.
    assert_eq!(lines(&heard.unwrap()), ["average lifecycle production", "18:00+60 362163 measured"]);
    assert_eq!(asked[0].path, "/electricity/rto/fuel-type-data/data/");
    for (name, value) in [
        ("api_key", KEY),
        ("frequency", "hourly"),
        ("data[0]", "value"),
        ("facets[respondent][]", "CISO"),
        ("start", "2026-11-20T19"),
        ("sort[0][column]", "period"),
        ("sort[0][direction]", "desc"),
        ("length", "2000"),
    ] {
        assert_eq!(asked[0].pair(name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn eia_is_not_believed_for_another_respondent_or_in_another_unit() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value, part) in
        [("respondent", "PJM", "another respondent"), ("value-units", "gigawatthours", "another unit")]
    {
        let mut one = row("19", "NG", json!(1));
        one[name] = json!(value);
        let body = rows(&[one]);
        let (heard, _) =
            round(Kind::Eia(key_in(&folder)), "US-CAL-CISO", ask(0), move |_| Does::Says(body.clone()));
        assert!(heard.unwrap_err().message.contains(part));
    }
}
