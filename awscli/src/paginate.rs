//! Pages, as botocore's paginator reads them, with its own tokens for a place within a page.

use aws_smithy_types::base64;

use crate::{
    client::Client,
    error::CommandError,
    json,
    operation::Operation,
    value::{Map, Value},
};

/// The parameter that the paginator sets itself.
pub(crate) const CONFIG: &str = "PaginationConfig";

const TOKEN: &str = "NextToken";
const TRUNCATED: &str = "boto_truncate_amount";

/// The pages of a listing.
pub(crate) struct Pages<'a> {
    client: &'a Client,
    operation: &'a Operation,
    params: Map,
    result_key: &'static str,
    max_items: Option<i128>,
    n_items: i128,
    /// The token of the next page, and the other members of a starting token.
    next: Map,
    previous: Option<Value>,
    /// Rows of the first page that were shown before.
    skip: Option<i128>,
    is_done: bool,
    /// Why the next page cannot be read; reported after this page is printed.
    pending: Option<String>,
    /// Where a later command continues.
    pub(crate) resume_token: Option<String>,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(
        client: &'a Client,
        operation: &'a Operation,
        result_key: &'static str,
        mut params: Map,
    ) -> Result<Self, String> {
        let config = match params.remove(CONFIG) {
            Some(Value::Map(config)) => config,
            _ => Map::default(),
        };
        let number = |key: &str| match config.get(key) {
            Some(Value::Int(number)) => Some(*number),
            _ => None,
        };
        let mut next = Map::from([(TOKEN, Value::Null)]);
        let mut skip = None;
        if let Some(token) = config.get("StartingToken").and_then(Value::as_text) {
            let (start, index) = starting_point(token)?;
            inject(&mut params, &start);
            (next, skip) = (start, Some(index));
        }
        if let Some(size) = number("PageSize") {
            params.set("MaxResults", Value::Int(size));
        }
        Ok(Self {
            client,
            operation,
            params,
            result_key,
            max_items: number("MaxItems"),
            n_items: 0,
            next,
            previous: None,
            skip,
            is_done: false,
            pending: None,
            resume_token: None,
        })
    }

    /// The next page, with the rows that belong to the listing; `None` after the last page.
    pub(crate) async fn next(&mut self) -> Result<Option<Map>, CommandError> {
        if let Some(message) = self.pending.take() {
            return Err(CommandError::Failed(message));
        }
        if self.is_done {
            return Ok(None);
        }
        let Value::Map(mut page) = self.client.call(self.operation, &self.params).await? else {
            return Ok(None);
        };
        let key = self.result_key;
        let skipped = self.skip.take();
        if let Some(n) = skipped {
            let rows = page.get(key).cloned().and_then(Value::into_list);
            page.set(key, rows.map_or(Value::Null, |it| from(&it, n).into()));
        }
        let rows = page.get(key).cloned().unwrap_or(Value::Null);
        let n_rows = if let Value::List(rows) = &rows { length(rows) } else { 0 };
        let excess = self.max_items.map_or(0, |it| self.n_items + n_rows - it);
        if 0 < excess {
            let keep = n_rows - excess;
            page.set(key, up_to(&rows.into_list().unwrap_or_default(), keep).into());
            let mut next = std::mem::take(&mut self.next);
            next.set(TRUNCATED, Value::Int(keep + skipped.unwrap_or_default()));
            self.stop_at(&next)?;
            return Ok(Some(page));
        }
        self.n_items += n_rows;
        self.go_on(&page);
        Ok(Some(page))
    }

    /// Decides whether there is another page.
    fn go_on(&mut self, page: &Map) {
        let Some(token) = page.get(TOKEN).filter(|it| it.is_truthy()).cloned() else {
            self.is_done = true;
            return;
        };
        self.next = Map::from([(TOKEN, token)]);
        if self.max_items == Some(self.n_items) {
            self.pending = self.stop_at(&self.next.clone()).err();
            return;
        }
        let next = Value::Map(self.next.clone());
        if self.previous.as_ref() == Some(&next) {
            self.pending = Some(format!(
                "Error during pagination: The same next token was received twice: {}",
                next.repr()
            ));
        }
        inject(&mut self.params, &self.next);
        self.previous = Some(next);
    }

    fn stop_at(&mut self, next: &Map) -> Result<(), String> {
        self.is_done = true;
        let mut names: Vec<_> = next.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        let value = Value::Map(next.clone());
        if names != [TOKEN] && names != [TOKEN, TRUNCATED] {
            return Err(format!("Bad starting token: {}", value.repr()));
        }
        self.resume_token = Some(base64::encode(json::compact(&value, ", ", ": ")));
        Ok(())
    }
}

/// Python's `rows[n:]`.
fn from(rows: &[Value], n: i128) -> Vec<Value> {
    rows.get(place(rows, n)..).unwrap_or_default().to_vec()
}

/// Python's `rows[:n]`.
fn up_to(rows: &[Value], n: i128) -> Vec<Value> {
    rows.get(..place(rows, n)).unwrap_or_default().to_vec()
}

fn place(rows: &[Value], n: i128) -> usize {
    let n = if n < 0 { n + length(rows) } else { n };
    usize::try_from(n.clamp(0, length(rows))).unwrap_or_default()
}

fn length(rows: &[Value]) -> i128 {
    i128::try_from(rows.len()).unwrap_or(i128::MAX)
}

/// Sets tokens in the parameters, and removes null ones.
fn inject(params: &mut Map, next: &Map) {
    for (name, token) in next.iter() {
        if token.is_null() || token.as_text() == Some("None") {
            params.remove(name);
        } else {
            params.set(name, token.clone());
        }
    }
}

/// A starting token: the service's token, and how many rows of its page to skip.
fn starting_point(token: &str) -> Result<(Map, i128), String> {
    if let Some(mut next) = decoded(token)? {
        let index = match next.remove(TRUNCATED) {
            Some(Value::Int(index)) => index,
            _ => 0,
        };
        return Ok((next, index));
    }
    // The form of old versions, which also accepts a token of the service.
    let mut parts: Vec<_> = token.split("___").collect();
    let mut index = 0;
    if let [_, last] = parts.as_slice() {
        match crate::value::parse_int(last) {
            Some(number) => {
                index = number;
                parts.pop();
            }
            None => parts = vec![token],
        }
    }
    match parts.as_slice() {
        ["None"] => Ok((Map::from([(TOKEN, Value::Null)]), index)),
        [one] => Ok((Map::from([(TOKEN, (*one).into())]), index)),
        _ => Err(format!("Bad starting token: {token}")),
    }
}

/// The map in a token of `--max-items`.
fn decoded(token: &str) -> Result<Option<Map>, String> {
    let is_part = |it: &char| it.is_ascii_alphanumeric() || matches!(it, '+' | '/' | '=');
    let token: String = token.chars().filter(is_part).collect(); // Python ignores the rest.
    let bytes = base64::decode(token).ok();
    let Some(text) = bytes.and_then(|it| String::from_utf8(it).ok()) else { return Ok(None) };
    match json::parse(&text) {
        Ok(Value::Map(map)) => Ok(Some(map)),
        Ok(_) | Err(json::Error::Syntax(_)) => Ok(None),
        Err(err @ json::Error::TooDeep(_)) => Err(err.to_string()),
    }
}
