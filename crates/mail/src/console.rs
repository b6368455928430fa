//! Mail on the console, for `gantry up` on one's own machine, where whoever would get it is looking already.

use std::fmt;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::mailer::{Mailer, SendError};
use crate::message::Mail;

/// Writes the plain text of messages to a stream.
pub struct ConsoleMailer(Mutex<Box<dyn Write + Send>>);

impl ConsoleMailer {
    /// To `stream`, such as standard error.
    pub fn new(stream: impl Write + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(stream)))
    }
}

impl fmt::Debug for ConsoleMailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConsoleMailer")
    }
}

#[async_trait]
impl Mailer for ConsoleMailer {
    async fn send(&self, mail: &Mail) -> Result<(), SendError> {
        let indented = mail.text.lines().map(|line| format!("  {line}\n")).collect::<String>();
        let shown = format!("\nMail to {}\n  {}\n\n{indented}\n", mail.to, mail.subject);
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stream.write_all(shown.as_bytes()).and_then(|()| stream.flush()).map_err(SendError::unavailable)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::line::Line;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_text_of_a_mail_is_shown() {
        let screen = Screen::default();
        let mailer = ConsoleMailer::new(screen.clone());
        let to = "anna@example.com".parse().unwrap();
        let mail = Mail::new(to, Line::new("Join"), "Hello\n\nBye".to_owned(), "<p>".to_owned());
        mailer.send(&mail).await.unwrap();
        let shown = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
        assert_eq!(shown, "\nMail to anna@example.com\n  Join\n\n  Hello\n  \n  Bye\n\n");
    }
}
