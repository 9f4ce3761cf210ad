//! The events of the file as lines, and copies of them with fresh ids, in step with `bench_events.erl`: every id keeps its
//! length, times stay.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// A moment in the hour in which the file was recorded.
pub const FIRST_MS: i64 = 1_795_378_165_279;

const FILES: [&str; 2] = [
    "../shared/data/sip-calls.ndjson.gz",
    "test/sample/sip-calls.ndjson.gz",
];

/// The lines of the file.
pub fn lines() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Some(path) = FILES
        .iter()
        .map(|file| root.join(file))
        .find(|path| path.is_file())
    else {
        panic!("none of {FILES:?} is there");
    };
    let mut text = String::new();
    let read = std::fs::File::open(&path)
        .and_then(|file| flate2::read::GzDecoder::new(file).read_to_string(&mut text));
    if let Err(error) = read {
        panic!("{}: {error}", path.display());
    }
    text.lines().map(str::to_owned).collect()
}

/// One copy of the events, but for those of some types.
pub fn replica(lines: &[String], number: usize, without: &[&str]) -> Vec<String> {
    let marks: Vec<String> = without
        .iter()
        .map(|kind| format!("\"type\":\"{kind}\""))
        .collect();
    lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !marks.iter().any(|mark| line.contains(mark.as_str())))
        .map(|(index, line)| fresh(line, number, index))
        .collect()
}

/// The line with ids that are a function of the ids in it and of the number of the copy.
fn fresh(line: &str, number: usize, index: usize) -> String {
    let cid = text_of(line, "cid").to_owned();
    let acallid = text_of(line, "acallid").to_owned();
    let eventid = text_of(line, "eventid").to_owned();
    let new_cid = uuid(&cid, number, 0);
    let new_eventid = uuid(&eventid, number, index + 1);
    line.replace(&cid, &new_cid)
        .replace(&cid[..8], &new_cid[..8])
        .replace(&cid[..6], &new_cid[..6])
        .replace(&eventid, &new_eventid)
        .replace(&format!("\"{acallid}\""), &format!("\"{number}{acallid}\""))
}

fn text_of<'l>(line: &'l str, key: &str) -> &'l str {
    let mark = format!("\"{key}\":\"");
    line.split_once(mark.as_str())
        .and_then(|(_, rest)| rest.split_once('"'))
        .map_or("", |(value, _)| value)
}

fn uuid(old: &str, number: usize, salt: usize) -> String {
    let name = format!("{old}/{number}/{salt}");
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).to_string()
}

/// Time that this thread has spent on a CPU.
pub fn cpu_time() -> Duration {
    let status = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let spent = status
        .split_whitespace()
        .next()
        .and_then(|ns| ns.parse().ok());
    Duration::from_nanos(spent.unwrap_or_default())
}

/// Resident memory of this process.
pub fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|kilobytes| kilobytes.trim().parse::<usize>().ok())
        .map_or(0, |kilobytes| kilobytes * 1024)
}
