//! `certs`: a certificate authority, and credentials for a coordinator, workers and people.

use lookbehind_identity::{IdentityError, Issued, Provided, Role, Wanted};

use crate::args::Certs;
use crate::console::Console;
use crate::error::CliError;
use crate::line::Line;

/// Creates missing credentials and prints the paths of the new files. Secrets are written only to files.
///
/// # Errors
/// If a name is invalid, files cannot be read or written, or a folder contradicts the authority's record.
pub(super) fn run(args: &Certs, console: &Console) -> Result<(), CliError> {
    let provided = provide(args)?;
    print_issued(args, &provided.issued, console)?;
    for changed in &provided.tightened {
        let (path, before, now) = (changed.path.display(), changed.before, changed.now);
        console
            .say(format_args!("{path}: others had access (permissions {before:04o}); now it is {now:04o}"));
    }
    for left in &provided.left {
        console.say(format_args!("{}: not renewed: {}", left.path.display(), left.reason));
    }
    match provided.left.iter().filter(|left| left.refused).count() {
        0 => Ok(()),
        folders => Err(CliError::NotRenewed { folders }),
    }
}

fn print_issued(args: &Certs, issued: &[Issued], console: &Console) -> Result<(), CliError> {
    if console.json() {
        return console.object(&Line::Issued(issued.iter().map(path).collect()));
    }
    for made in issued {
        let what = match made {
            Issued::Authority(_) => "authority",
            Issued::Certificate(_) => "certificate",
            Issued::Token(_) => "token",
        };
        console.result(format_args!("new {what}: {}", path(made)))?;
    }
    if issued.is_empty() {
        console.result(format_args!("{}: nothing new", args.folder.display()))?;
    }
    Ok(())
}

fn path(made: &Issued) -> String {
    let (Issued::Authority(path) | Issued::Certificate(path) | Issued::Token(path)) = made;
    path.display().to_string()
}

fn provide(args: &Certs) -> Result<Provided, IdentityError> {
    let roles = [(Role::Admin, &args.admins), (Role::User, &args.users), (Role::Worker, &args.workers)];
    let identities = roles
        .into_iter()
        .flat_map(|(role, names)| names.iter().map(move |name| (role, name.clone())))
        .collect();
    let wanted = Wanted { hosts: args.hosts.clone(), identities, days: args.days };
    lookbehind_identity::provide(&args.folder, &wanted)
}
