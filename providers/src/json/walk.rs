//! Walks over JSON text and checks every byte of it, without building anything.
//!
//! Each function takes what lies ahead and gives what lies behind a token or value, or says that there is none. Together they
//! accept what `serde_json` accepts when it ignores a value: RFC 8259, where half a surrogate pair may stand alone and
//! nesting has no end. Containers are counted in bits on the side, so deep text costs no stack. Inside strings, where nearly
//! all of a body is, sixteen bytes are looked at at once.

use wide::u8x16;

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
    'blocks: while let Some((block, behind)) = ahead.split_first_chunk() {
        let mut found = specials(*block);
        while found != 0 {
            let at = found.trailing_zeros() as usize;
            match block.get(at..).unwrap_or_default() {
                [b'"', ..] => return Ok(ahead.get(at + 1..).unwrap_or_default()),
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => found &= !(0b11 << at),
                _ => {
                    ahead = escape(ahead.get(at..).unwrap_or_default())?;
                    continue 'blocks;
                }
            }
        }
        ahead = behind;
    }
    loop {
        ahead = match special(ahead) {
            [b'"', behind @ ..] => return Ok(behind),
            other => escape(other)?,
        };
    }
}

/// Behind the escape that is next.
fn escape(ahead: &[u8]) -> Step<'_> {
    match ahead {
        [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', behind @ ..] => Ok(behind),
        [b'\\', b'u', a, b, c, d, behind @ ..] if [a, b, c, d].into_iter().all(u8::is_ascii_hexdigit) => Ok(behind),
        _ => Err(Fault::Syntax),
    }
}

/// From the next byte on that is special in a string: a quote, a backslash or a control character. Empty where none is.
#[expect(clippy::inline_always, reason = "where it is called, nearly all of the time is spent in here")]
#[inline(always)]
pub(super) fn special(mut ahead: &[u8]) -> &[u8] {
    while let Some((block, behind)) = ahead.split_first_chunk() {
        let found = specials(*block);
        if found != 0 {
            return ahead.get(found.trailing_zeros() as usize..).unwrap_or_default();
        }
        ahead = behind;
    }
    let mut last = [b' '; 16];
    if let Some(room) = last.get_mut(..ahead.len()) {
        room.copy_from_slice(ahead);
    }
    ahead.get(specials(last).trailing_zeros() as usize..).unwrap_or_default()
}

/// Finds special bytes: a bit for each, the first byte's the lowest.
#[inline]
fn specials(block: [u8; 16]) -> u32 {
    const FLIP: u8x16 = u8x16::splat(2);
    const LIMIT: u8x16 = u8x16::splat(b' ');
    const BACKSLASH: u8x16 = u8x16::splat(b'\\');
    let block = u8x16::new(block);
    // Flipping one bit puts the quote right behind the control characters.
    let flipped = block ^ FLIP;
    let quote_or_control = flipped.min(LIMIT).simd_eq(flipped);
    (quote_or_control | block.simd_eq(BACKSLASH)).to_bitmask()
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
