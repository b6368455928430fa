//! Mail as files, for trying things out and for programs that deliver them later.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt as _;

use crate::address::Sender;
use crate::mailer::{Mailer, SendError};
use crate::message::Mail;

/// Writes each message as `TIME-ID.eml` into a directory, readable by its owner alone, there as a whole or not at all.
#[derive(Debug)]
pub struct FileMailer {
    directory: PathBuf,
    from: Sender,
}

impl FileMailer {
    /// Makes the directory when it is absent.
    pub fn new(directory: PathBuf, from: Sender) -> std::io::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        Ok(Self { directory, from })
    }
}

#[async_trait]
impl Mailer for FileMailer {
    async fn send(&self, mail: &Mail) -> Result<(), SendError> {
        let bytes = mail.compose(&self.from)?.formatted();
        let name = format!(
            "{}-{}",
            mail.written_at().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis(),
            mail.id()
        );
        let (part, whole) =
            (self.directory.join(format!(".{name}.part")), self.directory.join(format!("{name}.eml")));
        let written = async {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part).await?;
            file.write_all(&bytes).await?;
            file.sync_all().await?;
            tokio::fs::rename(&part, &whole).await
        };
        written.await.map_err(SendError::unavailable)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::line::Line;

    #[tokio::test]
    async fn each_mail_is_one_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let mailer = FileMailer::new(dir.path().join("mail"), "gantry@example.com".parse().unwrap()).unwrap();
        let mail = |subject: &str| {
            let to = "anna@example.com".parse().unwrap();
            Mail::new(to, Line::new(subject), "Hello".to_owned(), "<p>Hello</p>".to_owned())
        };
        let first = mail("One");
        mailer.send(&first).await.unwrap();
        mailer.send(&first).await.unwrap();
        mailer.send(&mail("Two")).await.unwrap();
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir.path().join("mail")).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(path.extension().unwrap(), "eml");
            files.push(std::fs::read_to_string(path).unwrap());
        }
        assert_eq!(files.len(), 2, "the same one again is the same file");
        assert!(files.iter().any(|file| file.contains("Subject: One\r\n")));
    }

    #[tokio::test]
    async fn a_directory_that_is_gone_may_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let mailer = FileMailer::new(dir.path().join("mail"), "gantry@example.com".parse().unwrap()).unwrap();
        std::fs::remove_dir(dir.path().join("mail")).unwrap();
        let mail = Mail::new("a@example.com".parse().unwrap(), Line::new("x"), String::new(), String::new());
        assert!(mailer.send(&mail).await.unwrap_err().may_pass());
    }
}
