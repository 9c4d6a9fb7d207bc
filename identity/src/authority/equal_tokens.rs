//! Folders with the same token. It would be unclear whose it is, so it stays with the name to which the coordinator gives it
//! now, if there is one; the other folders are left as they are, and all others are renewed.

use std::collections::BTreeMap;

use super::holder::Holder;
use super::{Authority, Left};
use crate::tokens::Entry;

impl Authority {
    /// The holders with a token of their own, and the folders of those whose token is another's as well. `listed` are the
    /// entries of `tokens.toml` now.
    pub(super) fn with_own_tokens(&self, listed: &[Entry], holders: Vec<Holder>) -> (Vec<Holder>, Vec<Left>) {
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in holders.iter().map(Holder::entry) {
            names.entry(entry.hash).or_default().push(entry.name);
        }
        let reason = |holder: &Holder| {
            let Entry { name, hash, .. } = holder.entry();
            // Letters of either case denote the same hash.
            let mut owners = listed.iter().filter(|entry| entry.hash.eq_ignore_ascii_case(&hash));
            if owners.clone().any(|entry| entry.name == name) {
                return None;
            }
            let owner = owners.next().map(|entry| entry.name.as_str());
            let holding = names.get(&hash).into_iter().flatten().map(String::as_str);
            let mut others: Vec<&str> = holding.chain(owner).filter(|other| *other != name).collect();
            others.sort_unstable();
            others.dedup();
            let others = others.iter().map(|other| format!("{other:?}")).collect::<Vec<_>>().join(" and ");
            (!others.is_empty()).then(|| {
                format!("its token is that of {others} as well; delete this folder's token, and the next run makes a new one")
            })
        };
        let (mut own, mut left) = (Vec::new(), Vec::new());
        for holder in holders {
            match reason(&holder) {
                Some(reason) => left.push(self.left(&holder.holding.terms.name, reason, true)),
                None => own.push(holder),
            }
        }
        (own, left)
    }
}
