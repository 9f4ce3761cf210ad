//! A JSON text cut into its objects: one object, an array of objects, or one object a line.
//!
//! A piece that is no JSON is rejected by its index; cutting goes on behind it where its end is known (the next line).

use serde_json::value::RawValue;

use super::reject::Reject;

/// The objects of a text, as slices of it: `(offset, text)`; an error where no object could be cut out.
pub fn objects(text: &[u8]) -> Vec<Result<&[u8], Reject>> {
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace());
    match start.and_then(|at| text.get(at..)) {
        None => Vec::new(),
        Some(rest) if rest.first() == Some(&b'[') => elements(text, rest),
        Some(rest) => lines(text, rest),
    }
}

/// The elements of one array.
fn elements<'a>(text: &'a [u8], array: &'a [u8]) -> Vec<Result<&'a [u8], Reject>> {
    let mut found = Vec::new();
    let offset = |rest: &[u8]| text.len() - rest.len();
    let mut rest = trim(array.get(1..).unwrap_or_default());
    if let Some((b']', after)) = rest.split_first() {
        return tail(text, after, found);
    }
    loop {
        let mut stream = serde_json::Deserializer::from_slice(rest).into_iter::<&RawValue>();
        match stream.next() {
            Some(Ok(value)) => found.push(Ok(value.get().as_bytes())),
            _ => {
                found.push(Err(Reject::Json(offset(rest) + stream.byte_offset())));
                return found;
            }
        }
        rest = trim(rest.get(stream.byte_offset()..).unwrap_or_default());
        match rest.split_first() {
            Some((b',', after)) => rest = trim(after),
            Some((b']', after)) => return tail(text, after, found),
            _ => {
                found.push(Err(Reject::Json(offset(rest))));
                return found;
            }
        }
    }
}

/// What comes behind an array is no part of it.
fn tail<'a>(
    text: &'a [u8],
    after: &'a [u8],
    mut found: Vec<Result<&'a [u8], Reject>>,
) -> Vec<Result<&'a [u8], Reject>> {
    let after = trim(after);
    if !after.is_empty() {
        found.push(Err(Reject::Json(text.len() - after.len())));
    }
    found
}

/// Objects one behind the other, mostly one a line.
fn lines<'a>(text: &'a [u8], mut rest: &'a [u8]) -> Vec<Result<&'a [u8], Reject>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        if let Some((line, behind)) = whole_line(rest) {
            found.push(Ok(line));
            rest = trim(behind);
            continue;
        }
        let mut stream = serde_json::Deserializer::from_slice(rest).into_iter::<&RawValue>();
        let next = match stream.next() {
            Some(Ok(value)) => {
                found.push(Ok(value.get().as_bytes()));
                stream.byte_offset()
            }
            Some(Err(_)) => {
                found.push(Err(Reject::Json(text.len() - rest.len())));
                let end = rest.iter().position(|&byte| byte == b'\n');
                end.map_or(rest.len(), |end| end + 1)
            }
            None => rest.len(),
        };
        rest = trim(rest.get(next..).unwrap_or_default());
    }
    found
}

/// The first line where it looks like one whole object; whether it is one, its reader finds out.
fn whole_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
    let (line, behind) = text.split_at_checked(end)?;
    let line = line.trim_ascii_end();
    let whole = line.starts_with(b"{\"") && line.ends_with(b"}}") && !contains_two(line);
    whole.then_some((line, behind))
}

/// Whether two objects may stand on one line.
fn contains_two(line: &[u8]) -> bool {
    memchr::memmem::find(line, b"}{").is_some() || memchr::memmem::find(line, b"} {").is_some()
}

fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_does_not_harm_its_neighbours() {
        let kinds = |text: &str| -> Vec<bool> {
            objects(text.as_bytes()).iter().map(Result::is_ok).collect()
        };
        assert_eq!(
            kinds("{\"a\":1}\n{\"b\":\n{\"c\":3}\n"),
            [true, false, true]
        );
        assert_eq!(kinds("[{\"a\":1},{\"b\":2}"), [true, true, false]);
        assert_eq!(kinds("[{\"a\":1},{\"b\""), [true, false]);
        assert_eq!(kinds("[]"), [false; 0]);
        assert_eq!(kinds("  "), [false; 0]);
        assert_eq!(kinds("{\"a\":1}{\"b\":2}"), [true, true]);
    }
}
