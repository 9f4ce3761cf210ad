//! The core alone on one core, without Erlang: for profilers (perf, callgrind), and to tell what the NIF adds.
//!
//! `cargo bench --bench core -- [PART] [REPLICAS]`; PART is one of `encode`, `fold`, `live`, `records`, or `all` (the
//! default). The events are those of the Erlang benchmarks: the shared file, or the sample in the repository,
//! multiplied with fresh ids outside the timed sections. Times are time on the CPU, so that a busy machine tells much the
//! same. Prints one line a part; `make bench` does not call this.

mod replicas;

use std::hint::black_box;
use std::time::Duration;

use callstore::event::encode::Encoder;
use callstore::event::input::Common;
use callstore::store::{Settings, Store, accepted};

const BATCH: usize = 256;

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    let part = args.first().map_or("all", String::as_str);
    let replicas = args.get(1).and_then(|arg| arg.parse().ok()).unwrap_or(10);
    let lines = replicas::lines();
    let all = part == "all";
    if all || part == "encode" {
        encode(&lines, replicas);
    }
    if all || part == "fold" {
        fold(&lines, replicas);
    }
    if all || part == "live" {
        live(&lines, replicas);
    }
    if all || part == "records" {
        records(&lines, replicas);
    }
}

/// JSON of 256 events to one chunk.
fn encode(lines: &[String], replicas: usize) {
    let (mut events, mut bytes, mut spent) = (0, 0, Duration::ZERO);
    for number in 0..replicas {
        let texts: Vec<String> = replicas::replica(lines, number, &[])
            .chunks(BATCH)
            .map(|batch| batch.join("\n"))
            .collect();
        let start = replicas::cpu_time();
        for text in &texts {
            let chunks = black_box(chunks_of(text));
            bytes += chunks.iter().map(Vec::len).sum::<usize>();
        }
        spent += replicas::cpu_time() - start;
        events += lines.len();
    }
    let per_event = bytes as f64 / events as f64;
    println!(
        "encode   {:.3} us/event from JSON, {per_event:.0} bytes/event in chunks of {BATCH}",
        us_each(spent, events)
    );
}

/// Chunks of 256 events into an empty store, records not asked for.
fn fold(lines: &[String], replicas: usize) {
    let mut store = Store::new(settings(&["collection"]));
    let (events, spent) = fill(&mut store, lines, replicas, &[]);
    println!(
        "fold     {:.0} events/s, {} calls",
        events as f64 / spent.as_secs_f64(),
        store.kept()
    );
}

/// Calls without their ends: what they take. The growth of the process tells something in a run of this part alone.
fn live(lines: &[String], replicas: usize) {
    let mut store = Store::new(settings(&["collection"]));
    let empty = store.memory_bytes();
    let replica = replicas::replica(lines, replicas, &[]);
    black_box(chunks_of(&replica.join("\n")));
    let before = replicas::resident_bytes();
    fill(
        &mut store,
        lines,
        replicas,
        &["dlg_end", "dlg_stop", "route_fin"],
    );
    let calls = store.live() as f64;
    let counted = (store.memory_bytes() - empty) as f64 / calls;
    let resident = replicas::resident_bytes().saturating_sub(before) as f64 / calls;
    println!(
        "live     {calls} calls, {counted:.0} bytes each by count, {resident:.0} by growth of the process"
    );
}

/// Everything from closing to acceptance by one sink: issue, fold of the revision, the record as JSON, acceptance.
fn records(lines: &[String], replicas: usize) {
    let mut store = Store::new(settings(&["collection"]));
    fill(&mut store, lines, replicas, &[]);
    let start = replicas::cpu_time();
    let (count, bytes) = deliver(&mut store);
    println!(
        "records  {:.2} us each with issue and acceptance, {count} records, {:.0} bytes each",
        us_each(replicas::cpu_time() - start, count),
        bytes as f64 / count as f64
    );
}

#[inline(never)]
fn deliver(store: &mut Store) -> (usize, usize) {
    let (mut count, mut bytes, mut row, now_ms) = (0, 0, 1_000_000_u64, i64::MAX / 4);
    loop {
        let issued = store.issue(now_ms, 1, "bench", 256);
        let pending = store.pending("collection", 256);
        if issued.is_empty() && pending.is_empty() {
            break;
        }
        let taken: Vec<_> = pending.iter().map(|one| (one.cid, one.revision)).collect();
        count += pending.len();
        bytes += pending.iter().map(|one| one.record.len()).sum::<usize>();
        for chunk in issued
            .into_iter()
            .chain(accepted("collection", &taken, now_ms))
        {
            row += 1;
            if let Err(corrupt) = store.apply(&row.to_be_bytes(), &chunk, now_ms) {
                panic!("a chunk of the store's own is {corrupt:?}");
            }
        }
    }
    (count, bytes)
}

#[inline(never)]
fn fill(
    store: &mut Store,
    lines: &[String],
    replicas: usize,
    without: &[&str],
) -> (usize, Duration) {
    let (mut row, mut events, mut spent) = (0_u64, 0, Duration::ZERO);
    for number in 0..replicas {
        let replica = replicas::replica(lines, number, without);
        let chunks: Vec<Vec<u8>> = replica
            .chunks(BATCH)
            .flat_map(|batch| chunks_of(&batch.join("\n")))
            .collect();
        let start = replicas::cpu_time();
        for chunk in &chunks {
            row += 1;
            match store.apply(&row.to_be_bytes(), chunk, replicas::FIRST_MS) {
                Ok(applied) => events += applied.new,
                Err(corrupt) => panic!("a fresh chunk is {corrupt:?}"),
            }
        }
        spent += replicas::cpu_time() - start;
    }
    (events, spent)
}

#[inline(never)]
fn chunks_of(text: &str) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(
        Common::default(),
        |_: &callstore::event::input::Taken<'_>| 1,
    );
    encoder.push_json(text.as_bytes());
    let (encoded, rejected) = encoder.finish();
    assert!(
        rejected.is_empty(),
        "events of the file are rejected: {rejected:?}"
    );
    encoded.into_iter().map(|one| one.chunk).collect()
}

fn settings(sinks: &[&str]) -> Settings {
    Settings {
        site: "bench".to_owned(),
        master_domain: "era.test".to_owned(),
        group: 1,
        sinks: sinks.iter().map(|&sink| sink.to_owned()).collect(),
        cdr_enabled: true,
        ..Settings::default()
    }
}

fn us_each(spent: Duration, count: usize) -> f64 {
    spent.as_secs_f64() * 1e6 / count as f64
}
