//! The door to the client library of NATS.
//!
//! In: lines to publish, and where. Out: acknowledgements, and messages. Errors become text without credentials.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{
    ContextBuilder, GetStreamError, GetStreamErrorKind, PublishAckFuture, PublishErrorKind,
};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, ConsumerError, ConsumerErrorKind};
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{ConnectOptions, ServerAddr, header};
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};

use super::spool::SpooledLine;
use crate::cli::settings::NatsSettings;

/// Where and how to connect. Credentials are read already: later, no file of theirs can be opened.
pub(super) struct NatsAccess {
    servers: Vec<ServerAddr>,
    settings: NatsSettings,
    /// The contents of the file of credentials.
    credentials: Option<String>,
}

/// A connection that makes itself anew when it is lost.
pub(super) struct NatsConnection {
    context: Context,
    stream: String,
    subject: String,
}

impl NatsAccess {
    /// Reads what the settings name.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or an address is none.
    pub(super) fn new(settings: NatsSettings) -> Result<Self, String> {
        // Fails only where one was chosen before.
        let _ = rustls_graviola::default_provider().install_default();
        let address = |url: &str| url.parse::<ServerAddr>().map_err(|_| WRONG_ADDRESS.to_owned());
        let servers = settings.url.0.split(',').map(address).collect::<Result<_, _>>()?;
        let read = |path: &std::path::PathBuf| {
            std::fs::read_to_string(path)
                .map_err(|e| format!("cannot read {}: {e}", path.display()))
        };
        let credentials = settings.credentials.as_ref().map(read).transpose()?;
        let access = Self { servers, settings, credentials };
        access.options()?;
        Ok(access)
    }

    fn options(&self) -> Result<ConnectOptions, String> {
        let NatsSettings { ca, certificate, .. } = &self.settings;
        let mut options = ConnectOptions::new()
            .name("beamscope")
            .connection_timeout(PATIENCE)
            .ping_interval(PING)
            .request_timeout(Some(PATIENCE))
            .require_tls(ca.is_some() || certificate.is_some());
        if let Some(credentials) = &self.credentials {
            let wrong = |_| "the file of --nats-creds is none of NATS credentials".to_owned();
            options = options.credentials(credentials).map_err(wrong)?;
        } else if let Some((user, password)) = self.login() {
            options = match password {
                Some(password) => options.user_and_password(user, password),
                None => options.token(user),
            };
        }
        if let Some(ca) = ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let Some((certificate, key)) = certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(options)
    }

    /// The user and the password of the first address. A user without a password is a token.
    fn login(&self) -> Option<(String, Option<String>)> {
        let first = self.servers.first()?;
        Some((decoded(first.username()?), first.password().map(decoded)))
    }

    /// Connects, and finds the stream.
    ///
    /// # Errors
    ///
    /// No server answers, one refuses the connection, or it has no such stream.
    pub(super) async fn connect(&self, makes_stream: bool) -> Result<NatsConnection, String> {
        let options = self.options()?;
        let connected = options.connect(self.servers.clone()).await;
        let client = connected.map_err(|e| format!("cannot connect to {}: {e}", self.name()))?;
        let context = ContextBuilder::new()
            .timeout(PATIENCE)
            .max_ack_inflight(MOST_UNACKNOWLEDGED)
            .backpressure_on_inflight(true)
            .build(client);
        let NatsSettings { stream, subject, .. } = &self.settings;
        let connection =
            NatsConnection { context, stream: stream.clone(), subject: subject.clone() };
        connection.find_stream(makes_stream).await?;
        Ok(connection)
    }

    /// The servers, for a sentence.
    pub(super) fn name(&self) -> String {
        let names = self.servers.iter().map(|it| format!("{}:{}", it.host(), it.port()));
        names.collect::<Vec<_>>().join(", ")
    }
}

/// A part of an address, where `%` and two digits are a byte.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|it| std::str::from_utf8(it).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let byte = byte.filter(|_| *first == b'%');
        bytes.push(byte.unwrap_or(*first));
        rest = behind.get(if byte.is_some() { 2 } else { 0 }..).unwrap_or_default();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The text of an address is not in it: without a host it is a user and a password.
const WRONG_ADDRESS: &str =
    "what was given is no address of a NATS server; expected nats://HOST:PORT or tls://HOST:PORT";

impl NatsConnection {
    /// Finds the stream, and makes it where that is wanted and there is none.
    async fn find_stream(&self, makes: bool) -> Result<(), String> {
        let found = self.context.get_stream(&self.stream).await;
        let error = match found {
            Ok(_) => return Ok(()),
            Err(error) if !makes => return Err(self.no_stream(&error)),
            Err(_) => {
                let made = self.context.create_stream(stream::Config {
                    name: self.stream.clone(),
                    subjects: vec![format!("{}.>", self.subject)],
                    max_age: KEPT,
                    ..stream::Config::default()
                });
                match made.await {
                    Ok(_) => return Ok(()),
                    Err(error) => error.to_string(),
                }
            }
        };
        Err(format!("stream {}: {error}", self.stream))
    }

    /// Why there is no stream to read, and what to do where the server has none of this name.
    fn no_stream(&self, error: &GetStreamError) -> String {
        let stream = &self.stream;
        match error.kind() {
            GetStreamErrorKind::JetStream(it) if it.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                format!(
                    "the server has no stream {stream}: --nats-stream names another one, and the first sensor with --publish makes it"
                )
            }
            _ => format!("stream {stream}: {error}"),
        }
    }

    /// Why messages cannot be read, and what to do where the stream takes none of this subject.
    fn no_messages(&self, error: &ConsumerError) -> String {
        let Self { stream, subject, .. } = self;
        match error.kind() {
            ConsumerErrorKind::JetStream(it)
                if it.error_code() == ErrorCode::CONSUMER_FILTER_NOT_SUBSET =>
            {
                format!(
                    "stream {stream} takes no messages of the subject {subject}.>: --nats-subject names that of the sensors"
                )
            }
            _ => format!("stream {stream}: {error}"),
        }
    }

    /// Sends lines and waits until each is acknowledged. Returns those that no message can hold.
    ///
    /// # Errors
    ///
    /// One could not be sent, or was not acknowledged. All may be sent again.
    pub(super) async fn publish(&self, lines: &[SpooledLine]) -> Result<u64, String> {
        let wrong = |error: &dyn ToString| format!("stream {}: {}", self.stream, error.to_string());
        let mut sent: Vec<PublishAckFuture> = Vec::with_capacity(lines.len());
        let mut too_long = 0;
        for line in lines {
            let message = PublishMessage::build()
                .message_id(&line.id)
                .expected_stream(&self.stream)
                .payload(line.payload.clone().into());
            let subject = format!("{}.{}", self.subject, line.subject);
            match self.context.send_publish(subject, message).await {
                Ok(acknowledgement) => sent.push(acknowledgement),
                Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => too_long += 1,
                Err(error) => return Err(wrong(&error)),
            }
        }
        for acknowledgement in sent {
            acknowledgement.await.map_err(|error| wrong(&error))?;
        }
        Ok(too_long)
    }

    /// Reads messages from the one with the number `next` on, which it moves, until none is pending, and then, if `follows`,
    /// those that come. `take` gets the message, or `None` when none is pending, and returns whether it wants more.
    ///
    /// # Errors
    ///
    /// The connection was lost for longer than it makes itself anew.
    pub(super) async fn read(
        &self,
        next: &mut u64,
        follows: bool,
        mut take: impl FnMut(Option<StreamItem<'_>>) -> bool,
    ) -> Result<(), String> {
        let wrong = |error: &dyn ToString| format!("stream {}: {}", self.stream, error.to_string());
        let stream = self.context.get_stream(&self.stream).await;
        let stream = stream.map_err(|error| self.no_stream(&error))?;
        let consumer = stream.create_consumer(pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: (*next).max(1) },
            ack_policy: AckPolicy::None,
            filter_subject: format!("{}.>", self.subject),
            inactive_threshold: FORGOTTEN,
            memory_storage: true,
            ..pull::Config::default()
        });
        let consumer = consumer.await.map_err(|e| self.no_messages(&e))?;
        let mut is_idle = consumer.cached_info().num_pending == 0;
        if is_idle && !take(None) {
            return Ok(());
        }
        let messages =
            consumer.stream().heartbeat(HEARTBEAT).max_messages_per_batch(BATCH).messages();
        let mut messages = messages.await.map_err(|e| wrong(&e))?;
        while follows || !is_idle {
            let message = within(messages.next()).await.map_err(|e| wrong(&e))?;
            let Some(message) = message else { return Err(wrong(&"the server ended the reading")) };
            let message = message.map_err(|e| wrong(&e))?;
            let info = message.info().map_err(|e| wrong(&e))?;
            let (sequence, pending) = (info.stream_sequence, info.pending);
            let id = message.headers.as_ref().and_then(|it| it.get(header::NATS_MESSAGE_ID));
            let id = id.map_or("", |id| id.as_str());
            let item = StreamItem { subject: &message.subject, id, payload: &message.payload };
            let wants = take(Some(item));
            *next = sequence.saturating_add(1);
            is_idle = pending == 0;
            if !wants || is_idle && !take(None) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// A message of the stream.
pub(super) struct StreamItem<'a> {
    pub(super) subject: &'a str,
    pub(super) id: &'a str,
    pub(super) payload: &'a [u8],
}

/// What `work` gives, unless `end` is there before.
pub(super) async fn until<T>(
    work: impl Future<Output = T>,
    end: impl Future<Output = ()>,
) -> Option<T> {
    match select(pin!(work), pin!(end)).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

/// What ends within the time in which a heartbeat must come.
async fn within<T>(wait: impl Future<Output = T>) -> Result<T, String> {
    let end = tokio::time::timeout(HEARTBEAT * 4, wait).await;
    end.map_err(|_| "the server does not answer".to_owned())
}

/// Longest wait for an answer of the server.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time between two questions whether the server is there.
const PING: Duration = Duration::from_secs(10);

/// Time between two signs that there is no message.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Time after which the server forgets a reader.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// How long messages are kept in a stream that is made here.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Messages on the way that are not acknowledged.
const MOST_UNACKNOWLEDGED: usize = 512;

/// Messages that the server sends at a time.
const BATCH: usize = 256;
