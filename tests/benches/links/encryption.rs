//! Encrypted connections against those in plain text.

use lookbehind_tests::bench::{Failure, Samples, Scheme, Setup, Table};

use crate::{Options, measure};

/// How often plain text and TLS are measured in turn.
const ROUNDS: u64 = 2;

/// Encrypted against plain text.
pub(crate) fn compare(options: &Options) -> Result<(), Failure> {
    println!(
        "{} f32, V = {:.0} MB; seconds per gradient, best / median of {}",
        options.parameters,
        options.bytes() / 1e6,
        ROUNDS * options.gradients
    );
    let columns = [
        "workers",
        "link, Mbit/s",
        "plain text, s",
        "TLS, s",
        "TLS / plain text",
        "processors, %: plain text",
        "TLS",
    ];
    let table = Table::new(&columns);
    let scheme: Scheme = "f32".parse()?;
    for rate in &options.rate {
        for workers in &options.workers {
            let hosts = options.hosts(*rate, *workers)?;
            let limit = options.limit(scheme.each_way()?, *workers, rate * 1e6 / 8.0);
            let (mut seconds, mut processors) = ([Samples::default(), Samples::default()], [0.0_f64; 2]);
            for _ in 0..ROUNDS {
                for (index, tls) in [false, true].into_iter().enumerate() {
                    let setup = Setup { guarded: tls, ..options.setup(*workers) };
                    let measured = measure(options, scheme, &hosts, &setup, limit)?;
                    seconds[index].append(measured.seconds);
                    processors[index] = processors[index].max(measured.processors);
                }
            }
            let both = |samples: &Samples| format!("{:.2} / {:.2}", samples.best(), samples.median());
            let [plain, tls] = &seconds;
            table.row(&[
                workers.to_string(),
                rate.to_string(),
                both(plain),
                both(tls),
                format!("{:.2} / {:.2}", tls.best() / plain.best(), tls.median() / plain.median()),
                format!("{:.0}", processors[0] * 100.0),
                format!("{:.0}", processors[1] * 100.0),
            ]);
        }
    }
    Ok(())
}
