//! Bearer tokens: random words that stand for somebody. A coordinator keeps hashes only.

use std::collections::HashMap;
use std::fmt;

use blake3::Hash;
use serde::{Deserialize, Serialize};

use crate::error::IdentityError;
use crate::principal::{Identity, Role, check_name};

/// A secret. It is shown nowhere: its `Debug` says only that it is one.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Takes a token as its holder has it; `None` if it is none.
    pub fn new(text: &str) -> Option<Self> {
        let sound = (16..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        sound.then(|| Self(text.to_owned()))
    }

    /// Draws one: 256 random bits.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn random() -> Result<Self, IdentityError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| IdentityError::System(error.to_string()))?;
        Ok(Self(format!("lookbehind-{}", Hash::from_bytes(bytes).to_hex())))
    }

    /// The secret itself, for its holder and for the wire.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// What a coordinator keeps of it. The tokens are random, so that no slow hash is needed.
    pub fn hash(&self) -> Hash {
        blake3::hash(self.0.as_bytes())
    }
}

/// A line of `tokens.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Who holds the token.
    pub name: String,
    /// Their role.
    pub role: Role,
    /// Lower-case hex BLAKE3 of the token.
    pub hash: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Entry>,
}

/// The tokens that a coordinator takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(HashMap<Hash, Identity>);

impl Tokens {
    /// Reads the text of `tokens.toml`.
    ///
    /// # Errors
    /// Says in words what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut known = HashMap::new();
        for Entry { name, role, hash } in entries(text)? {
            check_name(&name).map_err(|error| error.to_string())?;
            let parsed = Hash::from_hex(&hash).map_err(|error| format!("hash of {name:?}: {error}"))?;
            if known.insert(parsed, Identity { name: name.clone(), role }).is_some() {
                return Err(format!("hash of {name:?}: stands there twice"));
            }
        }
        Ok(Self(known))
    }

    /// Who holds a token.
    pub fn holder(&self, token: &Token) -> Option<&Identity> {
        // Hashes are compared in constant time, and the map leaks no more than they do.
        self.0.get(&token.hash())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The lines of a `tokens.toml`.
pub(crate) fn entries(text: &str) -> Result<Vec<Entry>, String> {
    // Without its words, which repeat what was found: somebody may have put a token there instead of its hash.
    let wrong = |error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        format!("something else in line {}", 1 + before.matches('\n').count())
    };
    let file: File = toml::from_str(text).map_err(wrong)?;
    Ok(file.token)
}

/// The text of a `tokens.toml`.
pub(crate) fn text(token: Vec<Entry>) -> Result<String, IdentityError> {
    let body = toml::to_string(&File { token }).map_err(|error| IdentityError::System(error.to_string()))?;
    Ok(format!(
        "# Hashes (BLAKE3) of the tokens that the coordinator takes; delete an entry to take a token back.\n{body}"
    ))
}
