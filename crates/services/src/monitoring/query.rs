//! What is asked about what was measured.
//!
//! Rules from `GetMetricData`, `GetMetricStatistics` and `ListMetrics` in the CloudWatch API reference.

use std::collections::BTreeSet;

use postern_model::AccountId;
use serde_json::{Map, Value};

use super::input::{Input, combination, invalid, missing, not_served, validation};
use super::series::{MINUTE, Point, Series, Unit};
use super::wire::{Fault, Out};

/// "A single GetMetricData call can include up to 500 MetricDataQuery structures".
const MOST_QUERIES: usize = 500;
/// "The maximum number of data points … 100,800".
const MOST_DATA_POINTS: usize = 100_800;
/// "The maximum number of data points returned from a single call is 1,440."
const MOST_STATISTICS: i64 = 1_440;
/// "Up to 500 results are returned for any one call" of `ListMetrics`.
const METRICS_OF_A_PAGE: usize = 500;
/// Dimensions that a metric may have ("Dimensions", CloudWatch concepts).
const MOST_DIMENSIONS: usize = 30;
/// `PT3H`: metrics "that have had data points published in the past three hours".
const RECENT_MINUTES: i64 = 3 * 60;
const DAY: i64 = 24 * 60 * 60;
const STATISTICS: [&str; 5] = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"];
/// The units of the API's model.
const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

/// Who asks, and when.
pub(super) struct Asker<'a> {
    pub account: AccountId,
    pub now: i64,
    pub series: &'a Series,
}

/// The operations that are served.
pub(super) const OPERATIONS: [&str; 3] = ["GetMetricData", "GetMetricStatistics", "ListMetrics"];

/// Carries out one of [`OPERATIONS`].
pub(super) fn answer(asker: &Asker<'_>, operation: &str, input: &Map<String, Value>) -> Result<Out, Fault> {
    match operation {
        "GetMetricData" => metric_data(asker, input),
        "GetMetricStatistics" => metric_statistics(asker, input),
        _ => list_metrics(asker, input),
    }
}

fn text(text: impl Into<String>) -> Out {
    Out::Text(text.into())
}

/// A statistic of a period; none for what is no such name.
fn statistic(point: Point, name: &str) -> Option<f64> {
    match name {
        "SampleCount" => Some(point.samples),
        "Average" => Some(point.sum / point.samples),
        "Sum" => Some(point.sum),
        "Minimum" => Some(point.least),
        "Maximum" => Some(point.greatest),
        _ => None,
    }
}

fn dimensions(input: &Input<'_>) -> Result<Vec<(String, String)>, Fault> {
    let given = input.structures("Dimensions", &["Name", "Value"])?;
    if given.len() > MOST_DIMENSIONS {
        return Err(invalid(format!(
            "The collection {} must not have a size greater than {MOST_DIMENSIONS}.",
            input.path("Dimensions")
        )));
    }
    let pair =
        |one: &Input<'_>| Ok((one.needed_text("Name")?.to_owned(), one.needed_text("Value")?.to_owned()));
    let mut all = given.iter().map(pair).collect::<Result<Vec<_>, Fault>>()?;
    all.sort();
    Ok(all)
}

/// "A period can be as short as one minute (60 seconds) and must be a multiple of 60. For metrics … collected at intervals of
/// less than one minute, the period can be 1, 5, 10, 20, 30, 60, or any multiple of 60"; for times long ago it must be
/// coarser.
fn period(input: &Input<'_>, start: i64, now: i64) -> Result<i64, Fault> {
    let (name, path) = ("Period", input.path("Period"));
    let period = input.number(name)?.ok_or_else(|| missing(&path))?;
    let long_ago = now - start;
    let multiple = if long_ago > 63 * DAY {
        3_600
    } else if long_ago > 15 * DAY {
        300
    } else {
        MINUTE
    };
    if (multiple == MINUTE && matches!(period, 1 | 5 | 10 | 20 | 30))
        || (period > 0 && period % multiple == 0)
    {
        return Ok(period);
    }
    Err(invalid(format!("The parameter {path} must be greater than 0 and a multiple of {multiple}.")))
}

/// "Start time between 3 hours and 15 days ago - Round down to the nearest 1-minute interval"; data that is older by five
/// minutes or an hour.
fn round_down(time: i64, now: i64) -> i64 {
    let to = match now - time {
        age if age > 63 * DAY => 3_600,
        age if age > 15 * DAY => 300,
        _ => MINUTE,
    };
    time.div_euclid(to) * to
}

/// The times that are asked about: from the first up to the second.
fn range(input: &Input<'_>, now: i64) -> Result<(i64, i64), Fault> {
    let (start, end) = (input.needed_time("StartTime")?, input.needed_time("EndTime")?);
    if start >= end {
        return Err(validation(
            "The parameter StartTime must be less than the parameter EndTime.".to_owned(),
        ));
    }
    Ok((round_down(start, now), end))
}

/// Whether a metric's points are of the unit that was asked for, if one was.
fn unit(input: &Input<'_>) -> Result<Option<String>, Fault> {
    match input.text("Unit")? {
        Some(unit) if !UNITS.contains(&unit) => Err(validation(format!(
            "The value {unit} for parameter {} is not supported.",
            input.path("Unit")
        ))),
        unit => Ok(unit.map(str::to_owned)),
    }
}

/// A result of `GetMetricData` before it is cut into pages.
struct Told {
    id: String,
    label: String,
    values: Vec<(i64, f64)>,
}

fn metric_data(asker: &Asker<'_>, input: &Map<String, Value>) -> Result<Out, Fault> {
    let input = Input::new(
        input,
        &[
            "MetricDataQueries",
            "StartTime",
            "EndTime",
            "NextToken",
            "ScanBy",
            "MaxDatapoints",
            "LabelOptions",
        ],
    )?;
    let (start, end) = range(&input, asker.now)?;
    let newest_first = match input.text("ScanBy")? {
        None | Some("TimestampDescending") => true,
        Some("TimestampAscending") => false,
        Some(other) => {
            return Err(validation(format!("The value {other} for parameter ScanBy is not supported.")));
        }
    };
    // Labels here have no times in them, so their zone says nothing.
    if let Some(options) = input.structure("LabelOptions", &["Timezone"])? {
        options.text("Timezone")?;
    }
    let most = match input.number("MaxDatapoints")? {
        None => MOST_DATA_POINTS,
        Some(most) => usize::try_from(most)
            .ok()
            .filter(|most| (1..=MOST_DATA_POINTS).contains(most))
            .ok_or_else(|| {
                validation(format!("The parameter MaxDatapoints must be between 1 and {MOST_DATA_POINTS}."))
            })?,
    };
    let skip = token(&input)?;
    let known = ["Id", "MetricStat", "Expression", "Label", "ReturnData", "Period", "AccountId"];
    let queries = input.structures("MetricDataQueries", &known)?;
    if queries.is_empty() {
        return Err(missing("MetricDataQueries"));
    }
    if queries.len() > MOST_QUERIES {
        return Err(validation(format!(
            "The collection MetricDataQueries must not have a size greater than {MOST_QUERIES}."
        )));
    }
    let (mut ids, mut results) = (BTreeSet::new(), Vec::new());
    for query in &queries {
        let result = metric_query(asker, query, (start, end), newest_first)?;
        if !ids.insert(query.needed_text("Id")?) {
            return Err(validation(
                "The values for parameter id in MetricDataQueries are not unique.".to_owned(),
            ));
        }
        results.extend(result);
    }
    Ok(data_page(results, skip, most))
}

/// "Valid characters are letters, numbers, and underscore. The first character must be a lowercase letter."
fn is_id(id: &str) -> bool {
    id.starts_with(|first: char| first.is_ascii_lowercase())
        && id.len() <= 255
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn metric_query(
    asker: &Asker<'_>,
    query: &Input<'_>,
    (start, end): (i64, i64),
    newest_first: bool,
) -> Result<Option<Told>, Fault> {
    let id = query.needed_text("Id")?;
    if !is_id(id) {
        return Err(validation(format!(
            "The value {id} for parameter {} is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$.",
            query.path("Id")
        )));
    }
    for refused in ["Expression", "Period"] {
        if query.text(refused).is_err() || query.text(refused)?.is_some() {
            return Err(not_served(&query.path(refused)));
        }
    }
    if let Some(other) = query.text("AccountId")?
        && other != asker.account.to_string()
    {
        return Err(not_served(&query.path("AccountId")));
    }
    let stat = query.structure("MetricStat", &["Metric", "Period", "Stat", "Unit"])?;
    let stat = stat.ok_or_else(|| missing(&query.path("MetricStat")))?;
    let metric = stat.structure("Metric", &["Namespace", "MetricName", "Dimensions"])?;
    let metric = metric.ok_or_else(|| missing(&stat.path("Metric")))?;
    let (namespace, name) = (metric.needed_text("Namespace")?, metric.needed_text("MetricName")?);
    let dimensions = dimensions(&metric)?;
    let period = period(&stat, start, asker.now)?;
    let which = stat.needed_text("Stat")?;
    if !STATISTICS.contains(&which) {
        return Err(validation(format!(
            "The value {which} for parameter {} is not supported.",
            stat.path("Stat")
        )));
    }
    let unit = unit(&stat)?;
    let label = query.text("Label")?.unwrap_or(name);
    if label.contains("${") {
        return Err(validation(format!(
            "The parameter {} has dynamic values, which are not supported.",
            query.path("Label")
        )));
    }
    if query.truth("ReturnData")? == Some(false) {
        return Ok(None);
    }
    // Periods of data begin where they would for everybody, whenever the question begins.
    let aligned = start.div_euclid(period) * period;
    let found = asker.series.points(asker.account, (namespace, name), &dimensions, (aligned, end, period));
    let points = found.filter(|(of, _)| fits(*of, unit.as_deref())).map(|(_, points)| points);
    let points = points.unwrap_or_default().into_iter();
    let mut values: Vec<_> = points.filter_map(|(at, point)| Some((at, statistic(point, which)?))).collect();
    if newest_first {
        values.reverse();
    }
    Ok(Some(Told { id: id.to_owned(), label: label.to_owned(), values }))
}

fn fits(of: Unit, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| wanted == of.name())
}

/// Where to go on: how many were told already.
fn token(input: &Input<'_>) -> Result<usize, Fault> {
    let Some(token) = input.text("NextToken")? else { return Ok(0) };
    token.strip_prefix("after-").and_then(|number| number.parse().ok()).ok_or_else(|| Fault {
        shape: "InvalidNextToken",
        code: "InvalidNextToken",
        message: "The next token specified is invalid.".to_owned(),
    })
}

/// At most so many points, after those that were told already.
fn data_page(results: Vec<Told>, skip: usize, most: usize) -> Out {
    let (mut before, mut room, mut told) = (skip, most, Vec::new());
    let mut goes_on = false;
    for Told { id, label, values } in results {
        let own = values.len();
        let rest = values.into_iter().skip(before);
        let page: Vec<_> = rest.take(room).collect();
        let is_cut = before + page.len() < own;
        // Who has been told whole on an earlier page is not there again.
        let is_over = before > 0 && page.is_empty() && !is_cut;
        before = before.saturating_sub(own);
        room -= page.len();
        if is_over || (goes_on && page.is_empty()) {
            goes_on |= is_cut;
            continue;
        }
        goes_on |= is_cut;
        let status = if is_cut { "PartialData" } else { "Complete" };
        told.push(Out::Structure(vec![
            ("Id", text(id)),
            ("Label", text(label)),
            ("Timestamps", Out::List(page.iter().map(|(at, _)| Out::Time(*at)).collect())),
            ("Values", Out::List(page.iter().map(|(_, value)| Out::Number(*value)).collect())),
            ("StatusCode", text(status)),
        ]));
    }
    let mut answer = vec![("MetricDataResults", Out::List(told)), ("Messages", Out::List(Vec::new()))];
    if goes_on {
        answer.push(("NextToken", text(format!("after-{}", skip + most))));
    }
    Out::Structure(answer)
}

fn metric_statistics(asker: &Asker<'_>, input: &Map<String, Value>) -> Result<Out, Fault> {
    let known = [
        "Namespace",
        "MetricName",
        "Dimensions",
        "StartTime",
        "EndTime",
        "Period",
        "Statistics",
        "ExtendedStatistics",
        "Unit",
    ];
    let input = Input::new(input, &known)?;
    let (namespace, name) = (input.needed_text("Namespace")?, input.needed_text("MetricName")?);
    let (start, end) = range(&input, asker.now).map_err(|fault| match fault.code {
        "ValidationError" => combination(fault.message),
        _ => fault,
    })?;
    let period = period(&input, start, asker.now)?;
    let statistics = input.texts("Statistics")?;
    if !input.texts("ExtendedStatistics")?.is_empty() {
        return Err(not_served("ExtendedStatistics"));
    }
    if statistics.is_empty() {
        return Err(combination("Must specify either Statistics or ExtendedStatistics".to_owned()));
    }
    if let Some(other) = statistics.iter().find(|name| !STATISTICS.contains(name)) {
        return Err(invalid(format!("The value {other} for parameter Statistics is not supported.")));
    }
    let points = (end - start + period - 1) / period;
    if points > MOST_STATISTICS {
        return Err(combination(format!(
            "You have requested up to {points} datapoints, which exceeds the limit of {MOST_STATISTICS}. You may reduce the datapoints requested by increasing Period, or decreasing the time range."
        )));
    }
    let (dimensions, unit) = (dimensions(&input)?, unit(&input)?);
    let found = asker.series.points(asker.account, (namespace, name), &dimensions, (start, end, period));
    let (of, points) = found.unwrap_or((Unit::Count, Vec::new()));
    let points = points.into_iter().filter(|_| fits(of, unit.as_deref()));
    let told = points.map(|(at, point)| {
        let mut members = vec![("Timestamp", Out::Time(at))];
        for known in STATISTICS.into_iter().filter(|known| statistics.contains(known)) {
            members.extend(statistic(point, known).map(|value| (known, Out::Number(value))));
        }
        members.push(("Unit", text(of.name())));
        Out::Structure(members)
    });
    Ok(Out::Structure(vec![("Label", text(name)), ("Datapoints", Out::List(told.collect()))]))
}

fn list_metrics(asker: &Asker<'_>, input: &Map<String, Value>) -> Result<Out, Fault> {
    let known = [
        "Namespace",
        "MetricName",
        "Dimensions",
        "NextToken",
        "RecentlyActive",
        "IncludeLinkedAccounts",
        "OwningAccount",
    ];
    let input = Input::new(input, &known)?;
    let (namespace, name) = (input.text("Namespace")?, input.text("MetricName")?);
    if input.truth("IncludeLinkedAccounts")? == Some(true) || input.text("OwningAccount")?.is_some() {
        return Err(not_served("IncludeLinkedAccounts"));
    }
    let since = match input.text("RecentlyActive")? {
        None => i64::MIN,
        Some("PT3H") => asker.now.div_euclid(MINUTE) - RECENT_MINUTES,
        Some(other) => {
            return Err(invalid(format!("The value {other} for parameter RecentlyActive is not supported.")));
        }
    };
    let filters = input.structures("Dimensions", &["Name", "Value"])?;
    let filters = filters.iter().map(|one| Ok((one.needed_text("Name")?, one.text("Value")?)));
    let filters = filters.collect::<Result<Vec<_>, Fault>>()?;
    let skip = token(&input)?;
    let fits = |dimensions: &[(&str, String)]| {
        filters.iter().all(|(name, value)| {
            dimensions.iter().any(|(own, is)| own == name && value.is_none_or(|value| value == is))
        })
    };
    let all = asker.series.metrics(asker.account).filter(|(metric, last)| {
        namespace.is_none_or(|wanted| wanted == metric.namespace)
            && name.is_none_or(|wanted| wanted == metric.name)
            && *last >= since
            && fits(metric.dimensions())
    });
    let mut page: Vec<_> = all.skip(skip).take(METRICS_OF_A_PAGE + 1).collect();
    let goes_on = page.len() > METRICS_OF_A_PAGE;
    page.truncate(METRICS_OF_A_PAGE);
    let metrics = page.into_iter().map(|(metric, _)| {
        let pair = |(name, value): &(&'static str, String)| {
            Out::Structure(vec![("Name", text(*name)), ("Value", text(value.as_str()))])
        };
        Out::Structure(vec![
            ("Namespace", text(metric.namespace)),
            ("MetricName", text(metric.name)),
            ("Dimensions", Out::List(metric.dimensions().iter().map(pair).collect())),
        ])
    });
    let mut answer = vec![("Metrics", Out::List(metrics.collect()))];
    if goes_on {
        answer.push(("NextToken", text(format!("after-{}", skip + METRICS_OF_A_PAGE))));
    }
    Ok(Out::Structure(answer))
}
