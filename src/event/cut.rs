//! A JSON text cut into its objects: one object, an array of objects, or one object a line.
//!
//! A piece that is no JSON is rejected by its index; cutting goes on behind it where its end is known (the next line).

use serde_json::value::RawValue;

use super::reject::Reject;

/// The objects of a text, as slices of it; an error where no object could be cut out.
pub fn objects(text: &[u8]) -> Vec<Result<&[u8], Reject>> {
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace());
    match start.and_then(|at| text.get(at..)) {
        None => Vec::new(),
        Some(rest) if rest.first() == Some(&b'[') => elements(rest),
        Some(rest) => lines(rest),
    }
}

/// The elements of one array.
fn elements(array: &[u8]) -> Vec<Result<&[u8], Reject>> {
    let mut found = Vec::new();
    let mut rest = trim(array.get(1..).unwrap_or_default());
    if let Some((b']', after)) = rest.split_first() {
        return tail(after, found);
    }
    loop {
        let mut stream = serde_json::Deserializer::from_slice(rest).into_iter::<&RawValue>();
        match stream.next() {
            Some(Ok(value)) => found.push(Ok(value.get().as_bytes())),
            Some(Err(error)) => {
                found.push(Err(Reject::json(rest, &error)));
                return found;
            }
            None => {
                found.push(Err(Reject::Json(1)));
                return found;
            }
        }
        rest = trim(rest.get(stream.byte_offset()..).unwrap_or_default());
        match rest.split_first() {
            Some((b',', after)) => rest = trim(after),
            Some((b']', after)) => return tail(after, found),
            _ => {
                found.push(Err(Reject::Json(1)));
                return found;
            }
        }
    }
}

/// What comes behind an array is no part of it.
fn tail<'a>(
    after: &[u8],
    mut found: Vec<Result<&'a [u8], Reject>>,
) -> Vec<Result<&'a [u8], Reject>> {
    if !trim(after).is_empty() {
        found.push(Err(Reject::Json(1)));
    }
    found
}

/// Objects one behind the other, mostly one a line.
fn lines(mut rest: &[u8]) -> Vec<Result<&[u8], Reject>> {
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
            Some(Err(error)) => {
                let end = rest.iter().position(|&byte| byte == b'\n');
                let line = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
                found.push(Err(Reject::json(line, &error)));
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
    memchr::memchr_iter(b'}', line).any(|end| {
        let behind = line.get(end + 1..).unwrap_or_default();
        behind.starts_with(b"{") || behind.starts_with(b" {")
    })
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

    #[test]
    fn a_place_is_one_of_the_piece_that_is_at_fault() {
        let place = |text: &str| {
            let mut pieces = objects(text.as_bytes()).into_iter();
            pieces.find_map(Result::err)
        };
        assert_eq!(place("{\"a\":1}\n{\"b\":?}\n"), Some(Reject::Json(6)));
        assert_eq!(
            place("{\"a\":1}\n{\"b\":\n{\"c\":3}\n"),
            Some(Reject::Json(5))
        );
        assert_eq!(place("{\"a\":1}\nhello"), Some(Reject::Json(1)));
        assert_eq!(place("[{\"a\":1},\n{\"b\":\n?}]"), Some(Reject::Json(7)));
        assert_eq!(place("[{\"a\":1};{\"b\":2}]"), Some(Reject::Json(1)));
        assert_eq!(place("[{\"a\":1}] x"), Some(Reject::Json(1)));
        assert_eq!(place("[{\"a\":1},"), Some(Reject::Json(1)));
    }
}
