//! The syntax of the URL of a link: a scheme, a name, options, and quotes, as in VDE.

use std::fmt;

/// Why a text is not the URL of a link. The message names the part that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkUrlError(String);

impl LinkUrlError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for LinkUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LinkUrlError {}

type Result<T> = std::result::Result<T, LinkUrlError>;

/// A URL in parts, without quotes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// What stands before the options.
    pub(super) name: Vec<u8>,
    pub(super) options: Vec<(String, Option<Vec<u8>>)>,
}

/// A byte, and whether it was quoted: then it separates nothing.
type Quoted = (u8, bool);

/// `NAME[/OPTION[=VALUE]]…`
pub(super) fn parts_of_name(text: &str) -> Result<Parts> {
    let all = unquote(text)?;
    let mut pieces = all.split(|byte| *byte == (b'/', false));
    let name = bytes(pieces.next().unwrap_or_default());
    Ok(Parts { name, options: options(pieces)? })
}

/// `PATH` or `PATH[OPTION[=VALUE]/…]`, with brackets.
pub(super) fn parts_of_path(text: &str) -> Result<Parts> {
    let all = unquote(text)?;
    let Some(at) = all.iter().position(|byte| *byte == (b'[', false)) else {
        return Ok(Parts { name: bytes(&all), options: Vec::new() });
    };
    let (path, rest) = all.split_at(at);
    let inside = rest[1..].strip_suffix(&[(b']', false)]);
    let inside = inside.ok_or_else(|| {
        LinkUrlError::new("the options in '[' do not end with ']', for example \"/run/l[listen]\"")
    })?;
    Ok(Parts { name: bytes(path), options: options(inside.split(|byte| *byte == (b'/', false)))? })
}

fn options<'a>(
    pieces: impl Iterator<Item = &'a [Quoted]>,
) -> Result<Vec<(String, Option<Vec<u8>>)>> {
    let mut found: Vec<(String, Option<Vec<u8>>)> = Vec::new();
    for piece in pieces.filter(|piece| !piece.is_empty()) {
        let mut halves = piece.splitn(2, |byte| *byte == (b'=', false));
        let key = String::from_utf8_lossy(&bytes(halves.next().unwrap_or_default())).into_owned();
        let value = halves.next().map(bytes);
        if value.as_ref().is_some_and(Vec::is_empty) {
            let message = format!("the value of {key} is empty: one with a '/' needs quotes");
            return Err(LinkUrlError::new(message));
        }
        if found.iter().any(|(other, _)| *other == key) {
            return Err(LinkUrlError::new(format!("{key} is there twice")));
        }
        found.push((key, value));
    }
    Ok(found)
}

fn bytes(quoted: &[Quoted]) -> Vec<u8> {
    quoted.iter().map(|(byte, _)| *byte).collect()
}

/// Takes quotes away: `'…'`, `"…"`, `\c` and `%XX`.
fn unquote(text: &str) -> Result<Vec<Quoted>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'\'' | b'"' => loop {
                match rest.next() {
                    Some(end) if end == byte => break,
                    Some(quoted) => plain.push((quoted, true)),
                    None => {
                        let quote = char::from(byte);
                        return Err(LinkUrlError::new(format!("a {quote} is not closed")));
                    }
                }
            },
            b'\\' => match rest.next() {
                Some(quoted) => plain.push((quoted, true)),
                None => return Err(LinkUrlError::new("nothing stands behind the last '\\'")),
            },
            b'%' => plain.push((hexadecimal(rest.next(), rest.next())?, true)),
            0 => return Err(LinkUrlError::new("a zero byte stands in it")),
            byte => plain.push((byte, false)),
        }
    }
    match plain.contains(&(0, true)) {
        true => Err(LinkUrlError::new("\"%00\" stands in it")),
        false => Ok(plain),
    }
}

fn hexadecimal(high: Option<u8>, low: Option<u8>) -> Result<u8> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    match (digit(high), digit(low)) {
        (Some(high), Some(low)) => Ok((high * 16 + low) as u8),
        _ => {
            let message = "'%' needs two hexadecimal digits behind it: \"%25\" is '%' itself";
            Err(LinkUrlError::new(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn option(key: &str, value: Option<&str>) -> (String, Option<Vec<u8>>) {
        (key.into(), value.map(|value| value.as_bytes().to_vec()))
    }

    #[test]
    fn quoted_separators_separate_nothing() {
        for (text, name) in [
            ("'a/b'", "a/b"),
            ("\"a/b\"", "a/b"),
            ("a\\/b", "a/b"),
            ("a%2fb", "a/b"),
            ("%25d", "%d"),
        ] {
            let parts = parts_of_name(&format!("{text}/mtu=1/on")).expect(text);
            assert_eq!(parts.name, name.as_bytes(), "{text}");
            assert_eq!(parts.options, [option("mtu", Some("1")), option("on", None)], "{text}");
        }
    }

    #[test]
    fn options_of_a_path_stand_in_brackets() {
        let parts = parts_of_path("/run/a b[listen/local='/run/x']").expect("right");
        assert_eq!(parts.name, b"/run/a b");
        assert_eq!(parts.options, [option("listen", None), option("local", Some("/run/x"))]);

        let parts = parts_of_path("/run/\\[x]").expect("right");
        assert_eq!((&parts.name[..], parts.options), (&b"/run/[x]"[..], Vec::new()));
    }

    #[test]
    fn each_mistake_of_syntax_is_named() {
        for (text, expected) in [
            ("/a[listen", "do not end with ']'"),
            ("/a[listen]b", "do not end with ']'"),
            ("/a[local=/b]", "the value of local is empty: one with a '/' needs quotes"),
            ("/a[listen/listen]", "listen is there twice"),
            ("/a'b", "a ' is not closed"),
            ("/a\\", "nothing stands behind the last '\\'"),
            ("/a%2", "'%' needs two hexadecimal digits"),
            ("/a%00", "\"%00\" stands in it"),
        ] {
            let error = parts_of_path(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[a/%'\"\\\\\\[\\]=0é]{0,24}") {
            let _ = parts_of_name(&text);
            let _ = parts_of_path(&text);
        }

        #[test]
        fn any_path_is_itself_when_it_is_encoded(path in proptest::collection::vec(1u8.., 0..64)) {
            let encoded: String = path.iter().map(|byte| format!("%{byte:02x}")).collect();
            let parts = parts_of_path(&format!("{encoded}[mtu=9]")).expect("right");
            prop_assert_eq!(parts.name, path);
        }
    }
}
