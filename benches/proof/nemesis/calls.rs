//! What a client says to a node, and what it makes of the answer. Nothing here is surprised: what does not fit is noted
//! as strange, and judged later.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, header::LOCATION};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{
    moment,
    tables::{Brought, PASSWORDS, Tables},
    world::World,
};
use crate::history::{Answer, Asked, Event, Receipt, Session, Ticket, Token, User};

/// How long a check may take before its client gives it up: most take milliseconds, and one that asks a database which
/// takes no connection takes the 5 s that the pool waits for one.
pub(super) const CHECK: Duration = Duration::from_secs(10);

/// How long an act may take: more than the bound of P2 for the longest hold here (4 s: 5.25 s), the service's own limit
/// for a request (30 s) not reached.
pub(super) const ACT: Duration = Duration::from_secs(20);

/// How long one may take to say how far an act has come, and how long until the next is asked.
const FOLLOW: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(20);

/// How long who acts thinks about it when there is no answer: a node that is not there refuses at once, and what a
/// thousand acts in vain a second may have done would excuse everything.
const AFTER_NOTHING: Duration = Duration::from_millis(200);

/// One client: it asks one thing at a time.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) client: u32,
    pub(super) world: Arc<World>,
    pub(super) tables: Arc<Tables>,
    pub(super) events: Arc<Mutex<Vec<Event>>>,
}

/// What came back.
#[derive(Debug)]
enum Reply {
    Answered { status: u16, body: Value, text: String, place: Option<String> },
    Lost,
}

impl Reply {
    /// Where it says how far an act has come.
    fn place(&self) -> Option<String> {
        match self {
            Self::Answered { place, .. } => place.clone(),
            Self::Lost => None,
        }
    }
}

/// Which of a node's doors.
#[derive(Debug, Clone, Copy)]
enum Door<'a> {
    Public {
        bearer: Option<&'a str>,
    },
    /// The same, for who does not wait.
    Hasty {
        bearer: Option<&'a str>,
    },
    Management,
}

impl Caller {
    /// Whether a token is good at a node.
    pub(super) async fn check(&self, node: u8, token: Token, text: &str) -> Answer {
        self.check_by(node, token, text, "/v1/auth/verify").await
    }

    /// The same by another path.
    pub(super) async fn check_by(&self, node: u8, token: Token, text: &str, path: &str) -> Answer {
        let door = Door::Public { bearer: Some(text) };
        let asked = Asked::Check { token };
        self.ask(node, asked, door, (Method::GET, path), None, CHECK).await
    }

    /// Logs somebody in.
    pub(super) async fn log_in(&self, node: u8, user: User) -> Answer {
        let account = self.tables.account(user);
        let password = PASSWORDS[account.password];
        let body = json!({"username": account.name, "password": password, "delivery": "body"});
        let door = Door::Public { bearer: None };
        let asked = Asked::LogIn { user };
        let answer = self.ask(node, asked, door, (Method::POST, "/v1/auth/login"), Some(body), ACT).await;
        if matches!(&answer, Answer::Denied { problem } if problem == "credentials-invalid") {
            // A change of the password whose answer was lost, or that another client has made meanwhile.
            self.tables.has_password(user, 1 - account.password);
        }
        answer
    }

    /// Uses a ticket.
    pub(super) async fn refresh(&self, node: u8, user: User, session: Session, ticket: Ticket) -> Answer {
        let paper = self.tables.paper(ticket);
        self.tables.uses(ticket);
        let body = json!({"refresh_token": paper.text});
        let door = Door::Public { bearer: None };
        let asked = Asked::Refresh { user, session, ticket };
        self.ask(node, asked, door, (Method::POST, "/v1/auth/refresh"), Some(body), ACT).await
    }

    /// An act of a user, who shows a token.
    pub(super) async fn act(
        &self,
        node: u8,
        asked: Asked,
        bearer: Option<Token>,
        request: (Method, &str),
        body: Option<Value>,
    ) -> Answer {
        let text = bearer.map(|token| self.tables.text(token));
        let bearer = text.as_deref();
        let door = if self.tables.is_hasty() { Door::Hasty { bearer } } else { Door::Public { bearer } };
        self.ask(node, asked, door, request, body, ACT).await
    }

    /// An act of an operator.
    pub(super) async fn operate(&self, node: u8, asked: Asked, command: Value) -> Answer {
        let request = (Method::POST, "/v1/admin/commands");
        self.ask(node, asked, Door::Management, request, Some(command), ACT).await
    }

    async fn ask(
        &self,
        node: u8,
        asked: Asked,
        door: Door<'_>,
        request: (Method, &str),
        body: Option<Value>,
        limit: Duration,
    ) -> Answer {
        let began = moment();
        let reply = self.send(node, door, request, body, limit).await;
        let ended = moment();
        let place = reply.place();
        let answer = self.understand(asked, reply);
        let event = Event { client: self.client, node, began, ended, asked, answer: answer.clone() };
        self.note(event.clone());
        if let Some(place) = place
            && let Answer::Receipt(receipt) | Answer::Issued { receipt: Some(receipt), .. } = answer
            && !receipt.is_complete
        {
            Box::pin(self.follow(event, receipt, &place, limit)).await;
        }
        if answer == Answer::Lost && !matches!(asked, Asked::Check { .. }) {
            sleep(AFTER_NOTHING).await;
        }
        answer
    }

    fn note(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// Asks how far an act has come, its own node and another one in turn, until one says that it is in force
    /// everywhere: this is a complete receipt for the act, and a second answer to it.
    async fn follow(&self, act: Event, receipt: Receipt, place: &str, limit: Duration) {
        let nodes = u8::try_from(self.world.nodes().len()).unwrap_or(1);
        let mut node = act.node;
        while Duration::from_nanos(moment() - act.began) < limit {
            let door = Door::Public { bearer: None };
            let reply = self.send(node, door, (Method::GET, place), None, FOLLOW).await;
            let ended = moment();
            let answer = match reply {
                Reply::Answered { status: 200, body, .. } if body["complete"] == true => {
                    Answer::Receipt(Receipt { is_complete: true, ..receipt })
                }
                // One that has not heard of it yet knows nothing; nor does one that cannot tell.
                Reply::Lost | Reply::Answered { status: 202 | 404 | 503, .. } => {
                    node = (node + 1) % nodes;
                    sleep(BETWEEN).await;
                    continue;
                }
                Reply::Answered { status, body, text, .. } => {
                    Answer::Strange { what: format!("{status} with {}", names(&body, &text)) }
                }
            };
            return self.note(Event { node, ended, answer, ..act });
        }
    }

    async fn send(
        &self,
        node: u8,
        door: Door<'_>,
        (method, path): (Method, &str),
        body: Option<Value>,
        limit: Duration,
    ) -> Reply {
        let at = self.world.node(node).door();
        let (address, bearer) = match door {
            Door::Public { bearer } | Door::Hasty { bearer } => (at.public, bearer.map(ToOwned::to_owned)),
            Door::Management => (at.management, Some(at.token)),
        };
        let mut call = self.world.http().request(method, format!("http://{address}{path}"));
        if let Some(bearer) = bearer {
            call = call.bearer_auth(bearer);
        }
        if let Door::Hasty { .. } = door {
            call = call.header("prefer", "respond-async");
        }
        if let Some(body) = body {
            call = call.json(&body);
        }
        let answered = async {
            let response = call.send().await?;
            let status = response.status().as_u16();
            let place = response.headers().get(LOCATION).and_then(|place| Some(place.to_str().ok()?.to_owned()));
            Ok::<_, reqwest::Error>((status, place, response.text().await?))
        };
        match timeout(limit, Box::pin(answered)).await {
            Ok(Ok((status, place, text))) => {
                let body = serde_json::from_str(&text).unwrap_or(Value::Null);
                Reply::Answered { status, body, text, place }
            }
            Ok(Err(_)) | Err(_) => Reply::Lost,
        }
    }

    fn understand(&self, asked: Asked, reply: Reply) -> Answer {
        let Reply::Answered { status, body, text, .. } = reply else { return Answer::Lost };
        let strange = || Answer::Strange { what: format!("{status} with {}", names(&body, &text)) };
        let problem = body["type"].as_str().and_then(|kind| kind.strip_prefix("urn:kickout:problem:"));
        // An operator is answered in other words, with other hyphens.
        let problem = problem.or_else(|| body["kind"].as_str());
        match (status, problem) {
            (503, _) => Answer::Unavailable,
            (400..=499, Some(problem)) if status != 429 => Answer::Denied { problem: problem.replace('_', "-") },
            (200, None) if matches!(asked, Asked::Check { .. }) => Answer::Allowed,
            (200 | 202, None) => self.taken(asked, status, &body).unwrap_or_else(strange),
            _ => strange(),
        }
    }

    /// What credentials are, by what the access token says itself; `None` if that is of somebody else, or of another
    /// session than the answer names.
    fn brought(
        &self,
        user: User,
        token: &str,
        ticket: Option<&str>,
        named: Option<&str>,
    ) -> Option<(Session, Token, Option<Ticket>)> {
        let (session, subject) = (claim(token, "sid")?, claim(token, "sub")?);
        let is_one = named.is_none_or(|named| named == session);
        let is_theirs = self.tables.is_subject(user, &subject);
        let session = &session;
        (is_one && is_theirs).then(|| self.tables.came(&Brought { user, session, token, ticket }))
    }

    /// The answer of something that succeeded; `None` if it is not as it should be.
    fn taken(&self, asked: Asked, status: u16, body: &Value) -> Option<Answer> {
        // An operator's receipt comes in another cover, and says by itself whether it is complete.
        if body["answer"] == "receipt" {
            let value = &body["value"];
            let status = if value["complete"] == false { 202 } else { 200 };
            return receipt(value, status).map(Answer::Receipt);
        }
        match asked {
            Asked::LogIn { user } | Asked::Refresh { user, .. } => {
                let (session, token) = (body["session"].as_str()?, body["access_token"].as_str()?);
                let ticket = Some(body["refresh_token"].as_str()?);
                let (session, token, ticket) = self.brought(user, token, ticket, Some(session))?;
                Some(Answer::Issued { session, token, ticket, receipt: None })
            }
            Asked::Check { .. } | Asked::EndToken { .. } | Asked::Ban { .. } | Asked::Roles { .. } => None,
            Asked::Unban { .. } => (body["answer"] == "unbanned").then_some(Answer::Allowed),
            Asked::EndAll { user, keep: Some(_) } | Asked::Password { user, .. } => {
                let receipt = receipt(body, status)?;
                let Some(token) = body["access_token"].as_str() else { return Some(Answer::Receipt(receipt)) };
                let (session, token, ticket) = self.brought(user, token, None, None)?;
                Some(Answer::Issued { session, token, ticket, receipt: Some(receipt) })
            }
            Asked::EndSession { .. } | Asked::EndAll { keep: None, .. } => receipt(body, status).map(Answer::Receipt),
        }
    }
}

/// A claim of a token that is a text.
pub(super) fn claim(token: &str, name: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    Some(claims[name].as_str()?.to_owned())
}

/// What kind of text an answer is: the names of its members, and no value of them, which may be a secret.
fn names(body: &Value, text: &str) -> String {
    match body {
        Value::Object(members) => members.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        _ => format!("{} bytes", text.len()),
    }
}

fn receipt(body: &Value, status: u16) -> Option<Receipt> {
    let is_complete = body["complete"].as_bool()?;
    let receipt = Receipt {
        seq: body["seq"].as_i64()?,
        is_complete,
        already: body["already"].as_bool()?,
        elapsed_ms: body["elapsed_ms"].as_f64()?,
    };
    // 200 if and only if it is complete.
    (is_complete == (status == 200)).then_some(receipt)
}
