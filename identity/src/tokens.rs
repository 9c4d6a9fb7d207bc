//! Bearer tokens: random strings that authenticate a caller. A coordinator stores only their hashes.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use blake3::Hash;
use serde::{Deserialize, Serialize};

use crate::error::IdentityError;
use crate::principal::{Identity, Role, check_name};

/// A secret token. It is never displayed: its `Debug` output does not contain the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Takes a token from text; `None` if the text is not a valid token.
    pub fn new(text: &str) -> Option<Self> {
        let sound = (16..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        sound.then(|| Self(text.to_owned()))
    }

    /// The token in the text of the file `path`.
    pub(crate) fn in_file(text: &str, path: &Path) -> Result<Self, IdentityError> {
        // The error must not repeat the content, which may be a secret.
        Self::new(text.trim()).ok_or_else(|| {
            IdentityError::content(path, "one line of 16 to 512 visible characters", "something else")
        })
    }

    /// Generates a token of 256 random bits.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn random() -> Result<Self, IdentityError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| IdentityError::System(error.to_string()))?;
        Ok(Self(format!("lookbehind-{}", Hash::from_bytes(bytes).to_hex())))
    }

    /// The secret itself, for its holder and for the request header.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// The hash that a coordinator stores. A fast hash is enough, because tokens are random and cannot be guessed.
    pub fn hash(&self) -> Hash {
        blake3::hash(self.0.as_bytes())
    }
}

/// An entry of `tokens.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Name of the token's holder.
    pub name: String,
    /// Role of the token's holder.
    pub role: Role,
    /// BLAKE3 of the token in lower-case hex.
    pub hash: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Entry>,
}

/// The tokens that a coordinator accepts, by hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(HashMap<Hash, Identity>);

impl Tokens {
    /// Parses the content of `tokens.toml`.
    ///
    /// # Errors
    /// Describes what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let listed = entries(text)?;
        refuse_equal(&listed).map_err(|pair| pair.to_string())?;
        let mut known = HashMap::new();
        for Entry { name, role, hash } in listed {
            check_name(&name).map_err(|error| error.to_string())?;
            let parsed = Hash::from_hex(&hash).map_err(|error| format!("hash of {name:?}: {error}"))?;
            known.insert(parsed, Identity { name, role });
        }
        Ok(Self(known))
    }

    /// The holder of a token; `None` if the token is unknown.
    pub fn holder(&self, token: &Token) -> Option<&Identity> {
        // Hashes are compared in constant time. The timing of the lookup depends only on the hash, which reveals no
        // token.
        self.0.get(&token.hash())
    }

    /// Whether no token is accepted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The entries of a `tokens.toml`.
pub(crate) fn entries(text: &str) -> Result<Vec<Entry>, String> {
    // The parser's message is left out because it quotes the file, which may contain a token instead of its hash by
    // mistake.
    let wrong = |error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        format!("something else in line {}", 1 + before.matches('\n').count())
    };
    let file: File = toml::from_str(text).map_err(wrong)?;
    Ok(file.token)
}

/// Two entries with the same token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tokens of {0:?} and {1:?}: expected two different ones, found the same")]
pub struct EqualTokens(String, String);

/// Refuses two entries with the same token: it would be unclear whose it is.
pub(crate) fn refuse_equal(entries: &[Entry]) -> Result<(), EqualTokens> {
    let mut holders = HashMap::new();
    for Entry { name, hash, .. } in entries {
        // Letters of either case denote the same hash.
        if let Some(other) = holders.insert(hash.to_ascii_lowercase(), name) {
            return Err(EqualTokens(other.clone(), name.clone()));
        }
    }
    Ok(())
}

/// Formats the content of a `tokens.toml`.
pub(crate) fn text(token: Vec<Entry>) -> Result<String, IdentityError> {
    let body = toml::to_string(&File { token }).map_err(|error| IdentityError::System(error.to_string()))?;
    Ok(format!(
        "# Hashes (BLAKE3) of the tokens that the coordinator takes; delete an entry to take a token back.\n{body}"
    ))
}
