//! What an outer step costs in which a worker fails.

use lookbehind_tests::bench::{Failure, Fault, Scheme, Spread, Table};

use crate::Options;

/// How many times slower the link of a worker becomes.
const SLOWER: f64 = 10.0;

/// What a worker costs that fails in the middle of an outer step.
pub(crate) fn disturb(options: &Options) -> Result<(), Failure> {
    println!(
        "{} f32, V = {:.0} MB; seconds of outer steps of one gradient, and multiples of an undisturbed one",
        options.parameters,
        options.bytes() / 1e6
    );
    let columns = [
        "workers",
        "link, Mbit/s",
        "the last worker",
        "when",
        "undisturbed, s",
        "disturbed, s",
        "×",
        "the next ones, ×",
    ];
    let table = Table::new(&columns);
    let scheme: Scheme = "f32".parse()?;
    for rate in &options.rate {
        for workers in &options.workers {
            for (fault, what) in [
                (Fault::Killed, "is killed"),
                (Fault::Frozen, "is frozen"),
                (Fault::Slow(SLOWER, *rate), "has a link ten times slower"),
            ] {
                for (part, when) in [(0.25, "passes weights on"), (0.75, "owns blocks")] {
                    let hosts = options.hosts(*rate, *workers)?;
                    let limit = options.limit(2.0, *workers, rate * 1e6 / 8.0 / SLOWER);
                    let placement = options.placement();
                    let spread = Spread::start(&hosts, &options.setup(*workers))?;
                    let found = spread.disturb(
                        &hosts,
                        placement,
                        fault,
                        part,
                        options.load(scheme, *workers),
                        limit,
                    )?;
                    let times = |seconds: &f64| format!("{:.1}", seconds / found.usual);
                    table.row(&[
                        workers.to_string(),
                        rate.to_string(),
                        what.to_owned(),
                        when.to_owned(),
                        format!("{:.2}", found.usual),
                        format!("{:.2}", found.disturbed),
                        times(&found.disturbed),
                        found.after.iter().map(times).collect::<Vec<_>>().join(", "),
                    ]);
                }
            }
        }
    }
    Ok(())
}
