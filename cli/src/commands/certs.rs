//! `certs`: a certificate authority, and credentials for a coordinator, workers and people.

use lookbehind_identity::{Authority, IdentityError, Issued, Role, Wanted};

use crate::args::Certs;
use crate::console::Console;
use crate::error::CliError;
use crate::line::Line;

/// Creates missing credentials and prints the paths of the new files. Secrets are written only to files.
///
/// # Errors
/// If a name is invalid, or files cannot be read or written.
pub(super) fn run(args: &Certs, console: &Console) -> Result<(), CliError> {
    let issued = provide(args)?;
    if console.json() {
        return console.object(&Line::Issued(issued.iter().map(path).collect()));
    }
    for made in &issued {
        let what = match made {
            Issued::Authority(_) => "authority",
            Issued::Certificate(_) => "certificate",
            Issued::Token(_) => "token",
        };
        console.result(format_args!("new {what}: {}", path(made)))?;
    }
    if issued.is_empty() {
        console
            .result(format_args!("{}: nothing is missing, nothing expires soon", args.folder.display()))?;
    }
    Ok(())
}

fn path(made: &Issued) -> String {
    let (Issued::Authority(path) | Issued::Certificate(path) | Issued::Token(path)) = made;
    path.display().to_string()
}

fn provide(args: &Certs) -> Result<Vec<Issued>, IdentityError> {
    let roles = [(Role::Admin, &args.admins), (Role::User, &args.users), (Role::Worker, &args.workers)];
    let mut identities: Vec<(Role, String)> = roles
        .into_iter()
        .flat_map(|(role, names)| names.iter().map(move |name| (role, name.clone())))
        .collect();
    if identities.is_empty() {
        identities = vec![(Role::Admin, "admin".into()), (Role::Worker, "worker".into())];
    }
    let (authority, mut issued) = Authority::open(&args.folder)?;
    issued.extend(authority.provide(&Wanted { hosts: args.hosts.clone(), identities, days: args.days })?);
    Ok(issued)
}
