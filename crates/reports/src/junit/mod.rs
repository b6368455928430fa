//! JUnit XML: the format every test tool writes, and none of them the same way.
//!
//! **Outcomes.** `failure` or `error` is a failed test; `skipped` (or gtest's `status="notrun"`) a skipped one; Surefire's
//! `flakyFailure`/`flakyError`, and `rerunFailure`/`rerunError` without a final failure, a flaky one; each of these four
//! counts as a retry. An `error` directly in a suite, where no test could even start, becomes a failed result of its own.
//!
//! **References.** The five predefined entities and character references are resolved; any other reference (`&lol;`,
//! `&#0;`) and a stray `&` stay in the text as they are written. A document type with an internal subset is refused,
//! one without is skipped; nothing is ever fetched or expanded.

mod attributes;
mod case;

use std::io::{self, BufRead, Read};

use gantry_domain::results::TestResult;
use quick_xml::Reader;
use quick_xml::errors::{Error as XmlError, SyntaxError};
use quick_xml::events::{BytesStart, Event};

use crate::bounded::{Exceeded, XmlInput};
use crate::collector::Collector;
use crate::text::{escaped, push_reference};
use crate::{ReportError, ReportLimits};
use attributes::Attributes;
use case::{Case, Outcome, OutcomeKind, Suite};

const EXPECTED: &str = "JUnit XML report";

/// Reads the report to its end; one that breaks off or is broken anywhere gives no results.
pub fn parse(reader: impl Read, limits: &ReportLimits) -> Result<Vec<TestResult>, ReportError> {
    let mut input = XmlInput::new(reader, limits.bytes, limits.item_bytes);
    match input.fill_buf() {
        Ok(head) if is_utf16(head) => return Err(ReportError::Encoding { found: "UTF-16".to_owned() }),
        Err(error) if error.kind() != io::ErrorKind::Interrupted => {
            return Err(xml_error(error.into(), input.line(), limits));
        }
        _ => {}
    }
    let mut reader = Reader::from_reader(input);
    reader.config_mut().allow_dangling_amp = true;
    reader.config_mut().expand_empty_elements = true;
    let mut document = Document::new(limits);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        reader.get_mut().next_item();
        let event = match reader.read_event_into(&mut buffer) {
            Ok(event) => event,
            Err(error) => return Err(xml_error(error, reader.get_ref().line(), limits)),
        };
        let line = reader.get_ref().line();
        if matches!(event, Event::Eof) {
            return document.finish(line);
        }
        document.event(event, line)?;
    }
}

/// Whether `head` is the beginning of a document whose root is `testsuite` or `testsuites`.
pub fn begins(head: &[u8]) -> bool {
    // UTF-16 is not read, but recognised, so that its refusal can be explained.
    let narrowed: Vec<u8>;
    let head = if is_utf16(head) {
        narrowed = head.iter().skip(2).copied().filter(|byte| *byte != 0).collect();
        narrowed.as_slice()
    } else {
        head
    };
    let mut reader = Reader::from_reader(head);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(root) | Event::Empty(root)) => return is_root(root.local_name().as_ref()),
            Ok(Event::Eof | Event::End(_) | Event::CData(_) | Event::GeneralRef(_)) => return false,
            Ok(Event::Text(text)) if !text.trim().is_empty() => return false,
            Ok(_) => {}
            Err(XmlError::Syntax(
                SyntaxError::UnclosedTag
                | SyntaxError::UnclosedSingleQuotedAttributeValue
                | SyntaxError::UnclosedDoubleQuotedAttributeValue,
            )) => return is_unclosed_root(head),
            Err(_) => return false,
        }
    }
}

fn is_utf16(head: &[u8]) -> bool {
    head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff")
}

fn is_root(name: &str) -> bool {
    matches!(name, "testsuite" | "testsuites")
}

/// Whether the tag that `head` breaks off in is the root; a `<` can't be inside of a tag.
fn is_unclosed_root(head: &[u8]) -> bool {
    let tag = head.rsplit(|byte| *byte == b'<').next().unwrap_or_default();
    let Some(end) = tag.iter().position(u8::is_ascii_whitespace) else {
        return false;
    };
    std::str::from_utf8(&tag[..end]).is_ok_and(|name| is_root(name.rsplit(':').next().unwrap_or(name)))
}

/// What an open element is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Suite,
    Case,
    Outcome,
    /// Output and properties: never part of a message.
    Quiet,
    Other,
}

struct Document<'l> {
    collector: Collector<'l>,
    open: Vec<Element>,
    suites: Vec<Suite>,
    case: Option<Case>,
    outcome: Option<Outcome>,
    root_seen: bool,
}

impl<'l> Document<'l> {
    fn new(limits: &'l ReportLimits) -> Self {
        Self {
            collector: Collector::new(limits),
            open: Vec::new(),
            suites: Vec::new(),
            case: None,
            outcome: None,
            root_seen: false,
        }
    }

    fn event(&mut self, event: Event<'_>, line: u64) -> Result<(), ReportError> {
        match event {
            Event::Start(tag) => self.start(&tag, line),
            // Every element of ours is expanded; an empty one can't come.
            Event::Empty(_) | Event::Eof | Event::Comment(_) | Event::PI(_) => Ok(()),
            Event::End(_) => self.end(),
            Event::Text(text) => self.text(&text, line),
            Event::CData(text) => self.text(&text, line),
            Event::GeneralRef(name) => {
                if self.captures()
                    && let Some(outcome) = &mut self.outcome
                {
                    push_reference(&mut outcome.text, &name, self.collector.limits().message_bytes * 2);
                }
                Ok(())
            }
            Event::DocType(definition) if definition.contains('[') => Err(ReportError::Doctype { line }),
            Event::DocType(_) => Ok(()),
            Event::Decl(declaration) => match declaration.encoding() {
                Some(Ok(name))
                    if !["utf-8", "utf8", "us-ascii", "ascii"].contains(&&*name.to_ascii_lowercase()) =>
                {
                    Err(ReportError::Encoding { found: escaped(&name) })
                }
                _ => Ok(()),
            },
        }
    }

    fn start(&mut self, tag: &BytesStart<'_>, line: u64) -> Result<(), ReportError> {
        let limits = self.collector.limits();
        if self.open.len() >= limits.depth {
            return Err(ReportError::TooDeep { limit: limits.depth });
        }
        let name = tag.local_name();
        let name = name.as_ref();
        let inside = self.open.last().copied();
        if inside.is_none() {
            self.root(name, line)?;
        }
        let element = match (name, inside) {
            ("testsuite" | "testsuites", None | Some(Element::Suite)) => {
                self.suites.push(Suite::new(Attributes::of(tag, line)?));
                Element::Suite
            }
            ("testcase", Some(Element::Suite)) => {
                self.case = Some(Case::new(Attributes::of(tag, line)?));
                Element::Case
            }
            ("testcase" | "testsuite" | "testsuites", Some(_)) => {
                let reason = format!("<{name}> inside of something that is not a suite");
                return Err(ReportError::NotAReport { expected: EXPECTED, reason });
            }
            ("system-out" | "system-err" | "properties", _) => Element::Quiet,
            (_, Some(Element::Case | Element::Suite)) => match OutcomeKind::of(name) {
                Some(kind) if inside == Some(Element::Case) || kind == OutcomeKind::Failed => {
                    self.outcome = Some(Outcome::new(kind, Attributes::of(tag, line)?));
                    Element::Outcome
                }
                _ => Element::Other,
            },
            _ => Element::Other,
        };
        self.open.push(element);
        Ok(())
    }

    fn root(&mut self, name: &str, line: u64) -> Result<(), ReportError> {
        if std::mem::replace(&mut self.root_seen, true) {
            return Err(ReportError::Xml { line, reason: "it has more than one root element".to_owned() });
        }
        if !is_root(name) {
            let reason = format!("its first element is <{}>", escaped(name));
            return Err(ReportError::NotAReport { expected: EXPECTED, reason });
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), ReportError> {
        match self.open.pop() {
            Some(Element::Suite) => {
                self.suites.pop();
            }
            Some(Element::Case) => {
                if let Some(case) = self.case.take() {
                    self.collector.push(case.stated(&self.suites))?;
                }
            }
            Some(Element::Outcome) => {
                if let Some(outcome) = self.outcome.take() {
                    match &mut self.case {
                        Some(case) => case.add(outcome),
                        None => self.collector.push(outcome.of_suite(&self.suites))?,
                    }
                }
            }
            Some(Element::Quiet | Element::Other) | None => {}
        }
        Ok(())
    }

    fn text(&mut self, text: &str, line: u64) -> Result<(), ReportError> {
        if self.open.is_empty() && !text.trim().is_empty() {
            return Err(ReportError::Xml {
                line,
                reason: "there is text outside of the root element".to_owned(),
            });
        }
        if self.captures()
            && let Some(outcome) = &mut self.outcome
        {
            outcome.text.push(text, self.collector.limits().message_bytes * 2);
        }
        Ok(())
    }

    /// Whether text belongs to the message of the open outcome.
    fn captures(&self) -> bool {
        self.outcome.is_some() && !self.open.contains(&Element::Quiet)
    }

    fn finish(self, line: u64) -> Result<Vec<TestResult>, ReportError> {
        if !self.root_seen {
            return Err(ReportError::NotAReport {
                expected: EXPECTED,
                reason: "it has no elements".to_owned(),
            });
        }
        if !self.open.is_empty() {
            let reason = "it ends before its last element is closed".to_owned();
            return Err(ReportError::Xml { line, reason });
        }
        Ok(self.collector.finish())
    }
}

fn xml_error(error: XmlError, line: u64, limits: &ReportLimits) -> ReportError {
    match error {
        XmlError::Io(error) => match Exceeded::behind(&error) {
            Some(Exceeded::Total) => ReportError::TooLarge { limit: limits.bytes },
            Some(Exceeded::Item) => ReportError::ItemTooLarge { limit: limits.item_bytes },
            None => ReportError::Read(io::Error::new(error.kind(), error)),
        },
        XmlError::Encoding(_) => ReportError::NotUtf8 { line },
        error => ReportError::Xml { line, reason: escaped(&error.to_string()) },
    }
}
