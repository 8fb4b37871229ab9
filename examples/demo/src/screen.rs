//! Plain text for a terminal of 80 columns: labels on the left, wrapped text on the right, colour only where it is wanted.

use std::fmt::Debug;
use std::io::{self, IsTerminal as _, Write};

/// The right margin, in characters.
const WIDTH: usize = 79;
/// Where text begins, right of its label.
const MARGIN: usize = 12;
/// Ends a colour.
const RESET: &str = "\x1b[0m";

/// What a piece of text is, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Plain,
    Title,
    Label,
    Faint,
    Tool,
    Good,
    Bad,
}

/// The terminal, or what stands for it in a test.
pub(crate) struct Screen {
    out: Box<dyn Write + Send>,
    colour: bool,
    /// The text that is still being written, if any.
    flow: Option<Flow>,
}

/// Text that arrives in pieces and is wrapped at words.
#[derive(Debug)]
struct Flow {
    label: &'static str,
    ink: Ink,
    column: usize,
    /// The word whose end has not arrived yet.
    word: String,
    /// A space is owed before the next word of this line.
    space: bool,
    /// Inside a pair of `**`, which is how models write bold.
    bold: bool,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Title => "\x1b[1m",
            Self::Label => "\x1b[36m",
            Self::Faint => "\x1b[2m",
            Self::Tool => "\x1b[33m",
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[31m",
        }
    }
}

impl Screen {
    /// Standard output; in colour if it is a terminal and `NO_COLOR` (<https://no-color.org>) is not set.
    pub(crate) fn of_terminal(environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let wanted = environment("NO_COLOR").is_none_or(|value| value.is_empty());
        let able = environment("TERM").is_none_or(|kind| kind != "dumb");
        let out = io::stdout();
        let colour = out.is_terminal() && wanted && able;
        Self::new(Box::new(out), colour)
    }

    pub(crate) fn new(out: Box<dyn Write + Send>, colour: bool) -> Self {
        Self { out, colour, flow: None }
    }

    /// A line as it is.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// The beginning of a section, after an empty line; what is beside the title is less loud.
    pub(crate) fn title(&mut self, title: &str, beside: &str) -> io::Result<()> {
        let line = format!("\n{}  {}", self.paint(Ink::Title, title), self.paint(Ink::Faint, beside));
        self.line(line.trim_end())
    }

    /// A label and its text, wrapped.
    pub(crate) fn field(&mut self, label: &'static str, text: &str) -> io::Result<()> {
        self.field_in(Ink::Plain, label, text)
    }

    /// A label and its text in this colour, wrapped.
    pub(crate) fn field_in(&mut self, ink: Ink, label: &'static str, text: &str) -> io::Result<()> {
        self.end_flow()?;
        self.flow(ink, label, text)?;
        self.end_flow()
    }

    /// A label and two columns: `left` in the colour of tools, `right` flush with the margin where there is room.
    pub(crate) fn columns(&mut self, label: &str, left: &str, right: &str) -> io::Result<()> {
        let room = WIDTH - MARGIN;
        let used = left.chars().count() + right.chars().count();
        let gap = if used + 2 <= room { room - used } else { 2 };
        let left = self.paint(Ink::Tool, left);
        let right = self.paint(Ink::Faint, right);
        let label = self.label(label);
        self.line(format!("{label}{left}{:gap$}{right}", "").trim_end())
    }

    /// The next piece of a running text; a piece under another label ends the one before.
    pub(crate) fn flow(&mut self, ink: Ink, label: &'static str, piece: &str) -> io::Result<()> {
        if self.flow.as_ref().is_some_and(|flow| flow.label != label) {
            self.end_flow()?;
        }
        if self.flow.is_none() {
            // The blank line between two turns' texts belongs to no turn.
            if piece.trim().is_empty() {
                return Ok(());
            }
            let label_text = self.label(label);
            write!(self.out, "{label_text}")?;
            self.flow = Some(Flow { label, ink, column: 0, word: String::new(), space: false, bold: false });
        }
        for character in piece.chars() {
            match character {
                '\n' => self.break_line()?,
                space if space.is_whitespace() => self.end_word()?,
                other => {
                    if let Some(flow) = &mut self.flow {
                        flow.word.push(other);
                    }
                }
            }
        }
        self.out.flush()
    }

    /// Ends the running text, if there is one.
    pub(crate) fn end_flow(&mut self) -> io::Result<()> {
        self.end_word()?;
        if self.flow.take().is_some() { self.line("") } else { Ok(()) }
    }

    /// The last line of a run that did not do what it should.
    pub(crate) fn failure(&mut self, reason: &str) -> io::Result<()> {
        self.title("The demo failed", "")?;
        self.line("")?;
        self.field_in(Ink::Bad, "reason", reason)
    }

    /// The text in a colour, where colours are on.
    pub(crate) fn paint(&self, ink: Ink, text: &str) -> String {
        if self.colour && ink != Ink::Plain && !text.is_empty() {
            format!("{}{text}{RESET}", ink.code())
        } else {
            text.to_owned()
        }
    }

    fn label(&self, label: &str) -> String {
        let width = MARGIN - 2;
        self.paint(Ink::Label, &format!("  {label:<width$}"))
    }

    /// Writes the word that is now whole, on this line or the next. The space behind it waits for another word.
    fn end_word(&mut self) -> io::Result<()> {
        let colour = self.colour;
        let Some(flow) = &mut self.flow else { return Ok(()) };
        if flow.word.is_empty() {
            return Ok(());
        }
        let (word, length) = flow.take_word(colour);
        let wraps = flow.column > 0 && MARGIN + flow.column + 1 + length > WIDTH;
        let space = usize::from(flow.space && !wraps);
        flow.column = if wraps { 0 } else { flow.column } + space + length;
        flow.space = true;
        if wraps {
            return write!(self.out, "\n{:MARGIN$}{word}", "");
        }
        write!(self.out, "{:space$}{word}", "")
    }

    fn break_line(&mut self) -> io::Result<()> {
        self.end_word()?;
        if let Some(flow) = &mut self.flow
            && std::mem::replace(&mut flow.column, 0) > 0
        {
            flow.space = false;
            write!(self.out, "\n{:MARGIN$}", "")?;
        }
        Ok(())
    }
}

impl Flow {
    /// The word in its colour, and how many columns it takes. In colour, `**` becomes bold; else it stays.
    fn take_word(&mut self, colour: bool) -> (String, usize) {
        let word = std::mem::take(&mut self.word);
        if !colour {
            let length = word.chars().count();
            return (word, length);
        }
        let mut painted = String::new();
        let mut length = 0;
        for (at, piece) in word.split("**").enumerate() {
            self.bold ^= at > 0;
            length += piece.chars().count();
            let bold = if self.bold { Ink::Title.code() } else { "" };
            if !piece.is_empty() {
                let ink = self.ink.code();
                let end = if ink.is_empty() && bold.is_empty() { "" } else { RESET };
                painted.extend([ink, bold, piece, end]);
            }
        }
        (painted, length)
    }
}

impl Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").field("colour", &self.colour).field("flow", &self.flow).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A screen whose text can be read.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Paper {
        pub(crate) fn screen(&self, colour: bool) -> Screen {
            Screen::new(Box::new(self.clone()), colour)
        }

        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn words_that_arrive_in_pieces_are_wrapped_whole() {
        let paper = Paper::default();
        let mut screen = paper.screen(false);
        for piece in ["one ", "tw", "o ", &"three ".repeat(20), "\n\nfour"] {
            screen.flow(Ink::Plain, "says", piece).unwrap();
        }
        screen.flow(Ink::Plain, "thinks", "five").unwrap();
        screen.end_flow().unwrap();
        let text = paper.text();
        assert!(text.starts_with("  says      one two three three"), "{text}");
        assert!(text.ends_with("\n            four\n  thinks    five\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH && line == line.trim_end()), "{text}");
    }

    #[test]
    fn colour_is_used_only_where_it_is_on() {
        for colour in [false, true] {
            let paper = Paper::default();
            let mut screen = paper.screen(colour);
            screen.title("Title", "beside").unwrap();
            screen.columns("calls", "a tool", "3 ms").unwrap();
            screen.failure("no reason").unwrap();
            assert_eq!(paper.text().contains('\x1b'), colour, "{}", paper.text());
        }
    }

    #[test]
    fn stars_are_bold_where_there_is_colour_and_stars_where_there_is_none() {
        for (colour, expected) in [(true, "\x1b[1mTokyo\x1b[0m \x1b[1mis\x1b[0m, warm"), (false, "**Tokyo is**, warm")]
        {
            let paper = Paper::default();
            let mut screen = paper.screen(colour);
            for piece in ["*", "*Tok", "yo is*", "*, warm"] {
                screen.flow(Ink::Plain, "says", piece).unwrap();
            }
            screen.end_flow().unwrap();
            assert!(paper.text().contains(expected), "{:?}", paper.text());
        }
    }

    #[test]
    fn the_right_column_ends_at_the_margin() {
        let paper = Paper::default();
        paper.screen(false).columns("calls", "tool", "3 ms").unwrap();
        assert_eq!(paper.text().trim_end().chars().count(), WIDTH);
    }
}
