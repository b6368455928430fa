//! S3 and its like: which bucket, at which address, with which credentials.

use std::fmt;
use std::time::Duration;

use ::object_store::aws::{AmazonS3, AmazonS3Builder};
use ::object_store::{BackoffConfig, ClientOptions, RetryConfig};

use super::error::refused;
use crate::BlobError;

/// S3 takes no parts smaller than 5 MiB but the last, and 10,000 of them: 80 GB.
pub(super) const PART: usize = 8 << 20;

/// A bucket and the way to it. What is `None` comes from the variables that all tools for S3 know (`AWS_REGION`,
/// `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, …), credentials at last from the machine's role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Options {
    pub bucket: String,
    /// What all names begin with; empty for none.
    pub prefix: String,
    /// Another address than that of AWS, such as `http://minio:9000`.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// Whether the bucket is part of the path, as most servers beside AWS want it, or of the host name.
    pub path_style: bool,
    pub credentials: Option<S3Credentials>,
}

/// A key of its own, where the environment's shall not be used.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Credentials {
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl S3Options {
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            endpoint: None,
            region: None,
            path_style: true,
            credentials: None,
        }
    }

    /// Reads `s3://bucket` or `s3://bucket/prefix`; `None` for anything else.
    pub fn from_uri(uri: &str) -> Option<Self> {
        let rest = uri.strip_prefix("s3://")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
        let fits = (3..=63).contains(&bucket.len()) && bucket.chars().all(plain);
        fits.then(|| Self { prefix: prefix.trim_matches('/').to_owned(), ..Self::new(bucket) })
    }
}

pub(super) fn open(options: &S3Options) -> Result<AmazonS3, BlobError> {
    // No limit for a whole request: a large blob may be read slowly. Silence has one.
    let client = ClientOptions::new()
        .with_connect_timeout(Duration::from_secs(3))
        .with_read_timeout(Duration::from_secs(20))
        .with_timeout_disabled()
        .with_allow_http(true);
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(2),
        base: 2.0,
    };
    let retry = RetryConfig { backoff, max_retries: 5, retry_timeout: Duration::from_secs(15) };
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&options.bucket)
        .with_virtual_hosted_style_request(!options.path_style)
        .with_client_options(client)
        .with_retry(retry);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    if let Some(credentials) = &options.credentials {
        builder = builder
            .with_access_key_id(&credentials.access_key_id)
            .with_secret_access_key(&credentials.secret_access_key);
    }
    builder.build().map_err(refused)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ::object_store::{ObjectStoreExt as _, PutPayload};
    use bytes::Bytes;
    use gantry_domain::id::{OrganizationId, RunId};

    use super::*;
    use crate::{BlobKey, BlobKind, Blobs as _, ObjectBlobs};

    fn endpoint() -> String {
        std::env::var("GANTRY_TEST_S3").unwrap_or_else(|_| "http://127.0.0.1:19000".to_owned())
    }

    fn options(bucket: &str) -> S3Options {
        let credentials = S3Credentials {
            access_key_id: "gantry-test".to_owned(),
            secret_access_key: "gantry-test".to_owned(),
        };
        S3Options {
            prefix: "some/prefix".to_owned(),
            endpoint: Some(endpoint()),
            region: Some("us-east-1".to_owned()),
            credentials: Some(credentials),
            ..S3Options::new(bucket)
        }
    }

    /// A bucket of a test's own, on a server that forgets it when it ends.
    async fn start() -> (ObjectBlobs, S3Options) {
        let options = options(&format!("gantry-test-{:x}", rand::random::<u64>()));
        make_bucket(&options).await;
        (ObjectBlobs::s3(&options).unwrap(), options)
    }

    /// `object_store` makes no buckets: an empty name below the bucket's is the request that does.
    async fn make_bucket(options: &S3Options) {
        let request = format!(
            "PUT /{} HTTP/1.1\r\nHost: s3\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            options.bucket
        );
        let address = endpoint();
        let address = address.trim_start_matches("http://").trim_end_matches('/');
        let answer = async {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut connection = tokio::net::TcpStream::connect(address).await?;
            connection.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await.map(|_| answer)
        };
        let answer: std::io::Result<String> = answer.await;
        let answer =
            answer.expect("no S3 answers: `scripts/services start s3`, or name one in GANTRY_TEST_S3");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    crate::contract::contract!(in_s3: super::start);

    fn key() -> BlobKey {
        BlobKey { organization: OrganizationId::new(), run: RunId::new(), attempt: 1, kind: BlobKind::Log }
    }

    #[test]
    fn a_uri_names_bucket_and_prefix() {
        let read = |uri| S3Options::from_uri(uri).map(|options| (options.bucket, options.prefix));
        let of = |bucket: &str, prefix: &str| Some((bucket.to_owned(), prefix.to_owned()));
        assert_eq!(read("s3://blobs"), of("blobs", ""));
        assert_eq!(read("s3://blobs/"), of("blobs", ""));
        assert_eq!(read("s3://my.blobs-1/a/b/"), of("my.blobs-1", "a/b"));
        for uri in
            ["", "s3://", "s3:///prefix", "blobs", "gs://blobs", "s3://a", "s3://user:pass@blobs", "s3://B_b"]
        {
            assert_eq!(read(uri), None, "{uri}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let mut options = options("blobs");
        options.credentials.as_mut().unwrap().secret_access_key = "sesame".to_owned();
        assert!(!format!("{options:?}").contains("sesame"));
    }

    #[tokio::test]
    async fn everything_lies_below_the_prefix() {
        let (blobs, options) = start().await;
        let key = key();
        let stranger = ::object_store::path::Path::from("elsewhere/object");
        blobs.store.put(&stranger, PutPayload::from_static(b"not ours")).await.unwrap();
        blobs.write(&key).await.unwrap().finish().await.unwrap();
        let below = ::object_store::path::Path::from(format!("{}/{key}", options.prefix));
        assert!(blobs.store.head(&below).await.is_ok());
        blobs.delete_run(key.organization, key.run).await.unwrap();
        assert!(blobs.store.head(&below).await.is_err());
        assert!(blobs.store.head(&stranger).await.is_ok());
    }

    #[tokio::test]
    async fn a_missing_bucket_fails_the_check() {
        let (blobs, _) = start().await;
        assert_eq!(blobs.check().await, Ok(()));
        let missing = ObjectBlobs::s3(&options("gantry-test-nobody-made-this")).unwrap();
        assert!(matches!(missing.check().await, Err(BlobError::Unavailable(_))));
    }

    /// Counts the uploads that the server keeps parts of.
    async fn uploads(options: &S3Options) -> usize {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let address = endpoint();
        let address = address.trim_start_matches("http://").trim_end_matches('/');
        let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
        let request =
            format!("GET /{}?uploads HTTP/1.1\r\nHost: s3\r\nConnection: close\r\n\r\n", options.bucket);
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("ListMultipartUploadsResult"), "{answer}");
        answer.matches("<UploadId>").count()
    }

    #[tokio::test]
    async fn a_dropped_writer_leaves_no_parts_behind() {
        let (blobs, options) = start().await;
        let blobs = Arc::new(blobs);
        let mut writer = blobs.write(&key()).await.unwrap();
        writer.write(Bytes::from(vec![7; PART + 1])).await.unwrap();
        assert_eq!(uploads(&options).await, 1);
        drop(writer);
        let gone = async {
            while uploads(&options).await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), gone).await.expect("the upload was not aborted");
    }

    #[tokio::test]
    async fn no_server_is_an_error_in_time() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let options = S3Options { endpoint: Some(format!("http://{nobody}")), ..options("blobs") };
        let blobs = ObjectBlobs::s3(&options).unwrap();
        let checked = tokio::time::timeout(Duration::from_secs(60), blobs.check()).await.unwrap();
        assert!(matches!(checked, Err(BlobError::Unavailable(_))));
    }
}
