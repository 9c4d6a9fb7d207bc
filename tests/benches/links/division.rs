//! How the shards are divided over two workers of unequal speeds, and what that costs beside the best division there is.

use lookbehind_common::reduction::Segment;
use lookbehind_tests::bench::{Failure, Scheme, Table, goodput};

use crate::{Options, measure};

/// Prints a row for each rate of the links.
pub(crate) fn divide(options: &Options, speeds: &[f64]) -> Result<(), Failure> {
    let &[first, second] = speeds else { return Err("expected the speeds of two workers".into()) };
    let shards = options.shards(2);
    println!(
        "{} parameters, V = {:.0} MB as f32; {shards} shards, which a worker of speed 1 computes in {} s; medians of {}",
        options.parameters,
        options.bytes() / 1e6,
        options.computing,
        options.gradients
    );
    let table = Table::new(&[
        "speeds",
        "link, Mbit/s",
        "V/B, s",
        "shards of an outer step",
        "computing, s",
        "exchange, s",
        "together, s",
        "best division",
        "its computing and limit of the exchange, s",
        "together / best",
    ]);
    let scheme: Scheme = "f32".parse()?;
    for rate in &options.rate {
        let hosts = options.hosts(*rate, 2)?;
        let second_of_link = rate * 1e6 / 8.0;
        let goodput = goodput(hosts.get(0)?, hosts.get(1)?, second_of_link as usize)?;
        let setup = options.with_speeds(options.setup(2), &[first, second]);
        let limit = options.limit(scheme.each_way()?, 2, goodput);
        let measured = measure(options, scheme, &hosts, &setup, limit)?;
        let (computing, exchange) = (measured.computing.median(), measured.seconds.median());
        let machines = Machines {
            shards,
            per_shard: [first, second].map(|speed| options.computing / f64::from(shards) / speed),
            copy: options.bytes() / goodput,
        };
        let best = machines.best();
        table.row(&[
            format!("{first} : {second}"),
            rate.to_string(),
            format!("{:.2}", machines.copy),
            measured.shards.iter().map(|shards| format!("{shards:.1}")).collect::<Vec<_>>().join(" : "),
            format!("{computing:.2}"),
            format!("{exchange:.2}"),
            format!("{:.2}", computing + exchange),
            format!("{} : {}", best, shards - best),
            format!("{:.2} + {:.2}", machines.computing(best), machines.exchange(best)),
            format!("{:.2}", (computing + exchange) / machines.together(best)),
        ]);
    }
    Ok(())
}

/// Two workers, of which the first gets the first shards.
struct Machines {
    shards: u32,
    /// Seconds that each computes for a shard.
    per_shard: [f64; 2],
    /// Seconds of one copy of the weights over a link.
    copy: f64,
}

impl Machines {
    /// The best number of shards for the first worker, found by trying all.
    fn best(&self) -> u32 {
        let order = |one: &u32, other: &u32| self.together(*one).total_cmp(&self.together(*other));
        (0..=self.shards).min_by(order).unwrap_or(0)
    }

    fn together(&self, first: u32) -> f64 {
        self.computing(first) + self.exchange(first)
    }

    fn computing(&self, first: u32) -> f64 {
        let [one, other] = self.per_shard;
        f64::max(f64::from(first) * one, f64::from(self.shards - first) * other)
    }

    /// The seconds of the busiest link: it brings the weights, then carries the worker's share of each of its partials to
    /// the other one, and half of the sum to the coordinator. One worker alone needs the weights, and sends its partial.
    fn exchange(&self, first: u32) -> f64 {
        if first == 0 || first == self.shards {
            return 2.0 * self.copy;
        }
        let partials = |first, end| Segment::maximal_within(Segment { first, end }, self.shards).len() as f64;
        let most = f64::max(partials(0, first), partials(first, self.shards));
        self.copy * (1.0 + most / 2.0 + 0.5)
    }
}
