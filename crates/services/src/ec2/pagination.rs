//! Pages of listings: `MaxResults` and `NextToken`.
//!
//! A token says of which operation it is and after which row to go on, so that rows that come or go between two
//! pages neither repeat nor hide others. It gives nothing away: rows are the caller's own in any case.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_wire::AwsError;

use super::filters::Row;

/// What `MaxResults` may be.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The least.
    pub least: i64,
    /// The most.
    pub most: i64,
}

/// For most operations.
pub const USUAL: Bounds = Bounds { least: 5, most: 1000 };

/// One page.
#[derive(Debug)]
pub struct Page<R> {
    /// Its rows.
    pub rows: Vec<R>,
    /// Where the next one starts.
    pub next_token: Option<String>,
}

/// The page that a request asks for.
pub fn page<R: Row>(
    operation: &str,
    rows: Vec<R>,
    bounds: Bounds,
    max_results: Option<i64>,
    next_token: Option<&str>,
) -> Result<Page<R>, AwsError> {
    let size = max_results.map(|size| page_size(size, bounds)).transpose()?;
    let after = next_token.map(|token| read_token(operation, token)).transpose()?;
    let mut keyed: Vec<(String, R)> = rows.into_iter().map(|row| (row.key(), row)).collect();
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    if let Some(after) = after {
        keyed.retain(|(key, _)| *key > after);
    }
    let Some(size) = size.filter(|size| *size < keyed.len()) else {
        return Ok(Page { rows: keyed.into_iter().map(|(_, row)| row).collect(), next_token: None });
    };
    keyed.truncate(size);
    let next_token = keyed.last().map(|(key, _)| write_token(operation, key));
    Ok(Page { rows: keyed.into_iter().map(|(_, row)| row).collect(), next_token })
}

fn page_size(size: i64, Bounds { least, most }: Bounds) -> Result<usize, AwsError> {
    let refused = |expecting: String| {
        let message =
            format!("Value ( {size} ) for parameter maxResults is invalid. Expecting a value {expecting}.");
        AwsError::new("InvalidParameterValue", message)
    };
    if size < least {
        return Err(refused(format!("greater than or equal to {least}")));
    }
    if size > most {
        return Err(refused(format!("less than or equal to {most}")));
    }
    usize::try_from(size).map_err(|_| refused("that is a number of rows".to_owned()))
}

fn write_token(operation: &str, key: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{operation}\n{key}"))
}

fn read_token(operation: &str, token: &str) -> Result<String, AwsError> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let key = text.as_deref().and_then(|text| text.strip_prefix(operation)?.strip_prefix('\n'));
    key.map(str::to_owned)
        .ok_or_else(|| AwsError::new("InvalidNextToken", format!("The token '{token}' is invalid")))
}
