//! A file's text, document by document.

/// One document and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Document<'a> {
    /// The line of the file, from 1, that `text` begins with.
    pub line: u32,
    /// From its `---`, where it has one, to the next.
    pub text: &'a str,
}

impl Document<'_> {
    /// Whether nothing stands there but comments and directives.
    fn is_blank(&self) -> bool {
        self.text.lines().all(|line| {
            let line = line.trim_start_matches('\u{feff}').trim();
            let rest = line.strip_prefix("---").map_or(line, str::trim_start);
            rest.is_empty() || rest.starts_with(['#', '%'])
        })
    }
}

/// Splits a text at its document markers, blank documents left out. In YAML a
/// line that begins with `---` or `...` always is a marker, inside of a block
/// scalar too, so that this needs no parser and a broken document ends where the
/// next one begins.
pub(crate) fn documents(text: &str) -> impl Iterator<Item = Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rest = Some(Document { line: 1, text });
    std::iter::from_fn(move || {
        let here = rest?;
        let (document, next) = split(here);
        rest = next;
        Some(document)
    })
    .filter(|document| !document.is_blank())
}

fn split(from: Document<'_>) -> (Document<'_>, Option<Document<'_>>) {
    let mut offset = 0;
    for (index, line) in (0..).zip(from.text.split_inclusive('\n')) {
        let after = offset + line.len();
        let rest =
            |at: usize, line: u32| Document { line: from.line + line, text: &from.text[at..] };
        let document = Document { line: from.line, text: &from.text[..offset] };
        // The first line's own marker begins this document.
        if index > 0 && marks(line, "---") {
            return (document, Some(rest(offset, index)));
        }
        if marks(line, "...") {
            return (document, Some(rest(after, index + 1)));
        }
        offset = after;
    }
    (from, None)
}

fn marks(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}
