//! Walks over JSON text and checks every byte of it, without building anything.
//!
//! Each function takes what lies ahead and gives what lies behind a token or value, or says that there is none. Together they
//! accept what `serde_json` accepts when it ignores a value: RFC 8259, where half a surrogate pair may stand alone and
//! nesting has no end. Containers are counted in bits on the side, so deep text costs no stack. Inside strings, where nearly
//! all of a body is, eight bytes are looked at at once.

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// This is not JSON.
    Syntax,
    /// More levels than are allowed.
    TooDeep,
}

/// What lies behind.
pub(super) type Step<'a> = Result<&'a [u8], Fault>;

/// The containers that are open.
#[derive(Debug)]
struct Open {
    /// A one, and behind it a bit for each of the innermost levels: is it an object? The lowest bit is the innermost.
    bits: u64,
    /// The bits of the levels outside of those.
    outer: Vec<u64>,
    /// How many more may be opened.
    left: usize,
}

/// Behind white space.
#[inline]
pub(super) fn blanks(mut ahead: &[u8]) -> &[u8] {
    while let [byte, behind @ ..] = ahead
        && matches!(byte, b' ' | b'\n' | b'\t' | b'\r')
    {
        ahead = behind;
    }
    ahead
}

/// Behind this byte, and white space on both sides of it.
#[inline]
pub(super) fn mark(ahead: &[u8], mark: u8) -> Step<'_> {
    match blanks(ahead) {
        [first, behind @ ..] if *first == mark => Ok(blanks(behind)),
        _ => Err(Fault::Syntax),
    }
}

/// Behind the value that is next. It may open this many levels.
#[inline]
pub(super) fn value(ahead: &[u8], levels: usize) -> Step<'_> {
    match ahead {
        [b'"', ..] => string(ahead),
        [b'{' | b'[', ..] => container(ahead, levels),
        _ => scalar(ahead),
    }
}

/// Behind the object or array that is next.
fn container(mut ahead: &[u8], levels: usize) -> Step<'_> {
    let mut open = Open { bits: 1, outer: Vec::new(), left: levels };
    loop {
        ahead = match ahead {
            [b'"', ..] => string(ahead)?,
            [bracket @ (b'{' | b'['), behind @ ..] => {
                open.push(*bracket == b'{')?;
                match blanks(behind) {
                    // An empty container ends like any other.
                    end @ [b'}' | b']', ..] => end,
                    first => {
                        ahead = open.member(first)?;
                        continue;
                    }
                }
            }
            _ => scalar(ahead)?,
        };
        while !open.is_done() {
            ahead = match (blanks(ahead), open.innermost_is_object()) {
                ([b',', next @ ..], _) => {
                    ahead = open.member(blanks(next))?;
                    break;
                }
                ([b'}', behind @ ..], true) | ([b']', behind @ ..], false) => behind,
                _ => return Err(Fault::Syntax),
            };
            open.pop();
        }
        if open.is_done() {
            return Ok(ahead);
        }
    }
}

/// Behind the word or number that is next.
fn scalar(ahead: &[u8]) -> Step<'_> {
    match ahead {
        [b't', b'r', b'u', b'e', behind @ ..]
        | [b'f', b'a', b'l', b's', b'e', behind @ ..]
        | [b'n', b'u', b'l', b'l', behind @ ..] => Ok(behind),
        _ => number(ahead),
    }
}

/// Behind the string that is next.
pub(super) fn string(ahead: &[u8]) -> Step<'_> {
    let [b'"', ahead @ ..] = ahead else { return Err(Fault::Syntax) };
    let mut ahead = ahead;
    loop {
        ahead = match special(ahead) {
            [b'"', behind @ ..] => return Ok(behind),
            [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', behind @ ..] => behind,
            [b'\\', b'u', a, b, c, d, behind @ ..] if [a, b, c, d].into_iter().all(u8::is_ascii_hexdigit) => behind,
            _ => return Err(Fault::Syntax),
        };
    }
}

/// From the next byte on that is special in a string: a quote, a backslash or a control character. Empty where none is.
#[expect(clippy::inline_always, reason = "where it is called, nearly all of the time is spent in here")]
#[inline(always)]
pub(super) fn special(mut ahead: &[u8]) -> &[u8] {
    while let Some((word, behind)) = ahead.split_first_chunk() {
        let found = specials(*word);
        if found != 0 {
            return ahead.get(found.trailing_zeros() as usize / 8..).unwrap_or_default();
        }
        ahead = blocks(behind);
    }
    let at = ahead.iter().position(|byte| is_special(*byte)).unwrap_or(ahead.len());
    ahead.get(at..).unwrap_or_default()
}

/// Behind blocks without special bytes.
#[inline]
fn blocks(mut ahead: &[u8]) -> &[u8] {
    while let Some((block, behind)) = ahead.split_first_chunk()
        && is_plain(block)
    {
        ahead = behind;
    }
    ahead
}

/// Finds special bytes in a word: the lowest bit that is set is the highest of the first such byte.
#[inline]
fn specials(word: [u8; 8]) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(word);
    // A byte below a limit borrows from its highest bit, which ASCII leaves clear. The borrow spreads upwards, and so can be
    // wrong about later bytes only.
    let quote_or_control = (word ^ (EACH * 2)).wrapping_sub(EACH * 0x21);
    let backslash = (word ^ (EACH * 0x5c)).wrapping_sub(EACH);
    (quote_or_control | backslash) & !word & (EACH * 0x80)
}

/// Is none of these special? Without branches, so that the compiler takes a vector register for the bytes.
#[inline]
fn is_plain(block: &[u8; 32]) -> bool {
    !block.iter().fold(false, |found, byte| found | is_special(*byte))
}

/// Flipping one bit puts the quote right behind the control characters.
#[inline]
fn is_special(byte: u8) -> bool {
    byte ^ 2 <= b' ' || byte == b'\\'
}

/// Behind the number that is next.
fn number(ahead: &[u8]) -> Step<'_> {
    let digits = ahead.strip_prefix(b"-").unwrap_or(ahead);
    let mut ahead = match digits {
        [b'0', behind @ ..] => behind,
        _ => self::digits(digits)?,
    };
    if let [b'.', fraction @ ..] = ahead {
        ahead = self::digits(fraction)?;
    }
    if let [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] = ahead {
        ahead = self::digits(exponent)?;
    }
    Ok(ahead)
}

/// Behind digits, of which there must be one.
fn digits(ahead: &[u8]) -> Step<'_> {
    let [b'0'..=b'9', ahead @ ..] = ahead else { return Err(Fault::Syntax) };
    let mut ahead = ahead;
    while let [b'0'..=b'9', behind @ ..] = ahead {
        ahead = behind;
    }
    Ok(ahead)
}

// === impl Open ===

impl Open {
    #[inline]
    fn push(&mut self, is_object: bool) -> Result<(), Fault> {
        self.left = self.left.checked_sub(1).ok_or(Fault::TooDeep)?;
        if self.bits.leading_zeros() == 0 {
            self.outer.push(std::mem::replace(&mut self.bits, 1));
        }
        self.bits = self.bits << 1 | u64::from(is_object);
        Ok(())
    }

    #[inline]
    fn pop(&mut self) {
        self.bits >>= 1;
        self.left += 1;
        if self.bits == 1
            && let Some(bits) = self.outer.pop()
        {
            self.bits = bits;
        }
    }

    #[inline]
    fn is_done(&self) -> bool {
        self.bits == 1
    }

    #[inline]
    fn innermost_is_object(&self) -> bool {
        self.bits & 1 == 1
    }

    /// To the value of the member that is next: in an object, behind its key.
    #[inline]
    fn member<'a>(&self, ahead: &'a [u8]) -> Step<'a> {
        if self.innermost_is_object() { mark(string(ahead)?, b':') } else { Ok(ahead) }
    }
}
