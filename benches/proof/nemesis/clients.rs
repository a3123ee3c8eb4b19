//! Those who use the cluster while it is hurt: for each node some who ask it about tokens all the time, the ended ones
//! again and again, and some who only ever ask about their own token, against which nobody acts; and some who log in,
//! refresh and end things, at whichever node.

use std::{sync::Arc, time::Duration};

use http::Method;
use rand::{RngExt as _, rngs::StdRng};
use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    calls::{Caller, claim},
    plan::{Kind, Plan, Planned, dice},
    tables::PASSWORDS,
};
use crate::history::{Answer, Asked, Session, Token, User};

/// For each node: who stands at one that does not answer shall not keep the others from being asked.
const CHECKERS: u32 = 2;

/// For each node, too: what they ask about nobody has touched, so that a node can tell without its ledger, as long as it
/// may tell at all. Who asks about everything stands where a node has to look, and does not see it stop.
const WATCHERS: u32 = 2;

/// Those who do everything else.
const ACTORS: u32 = 6;

/// For each node, where all its connections are to be in use at once: twice as many as it has to write with.
const RUSHERS: u32 = 8;

/// Client numbers: actors from 0, the second hand of each from here, checkers, watchers and those in a rush from there
/// on, those of the end beyond.
const SECOND_HANDS: u32 = 100;
const FIRST_CHECKER: u32 = 200;
const FIRST_WATCHER: u32 = 300;
const FIRST_RUSHER: u32 = 400;
pub(super) const SWEEPERS: u32 = 1000;

/// Sessions that are kept alive, so that there is always something to end: with fewer, most acts are logins.
const CROWD: usize = 20;

/// Who is at work.
#[derive(Debug)]
pub(super) struct Clients {
    over: CancellationToken,
    tasks: JoinSet<()>,
}

impl Clients {
    /// They begin. `rush`: when it is one.
    pub(super) fn begin(caller: &Caller, plan: &Plan, rush: &watch::Receiver<bool>) -> Self {
        let (over, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let (seed, episode, nodes) = (plan.seed, plan.episode, plan.shape.nodes);
        let actor = |number: u32| Actor {
            caller: Caller { client: number, ..caller.clone() },
            second: Caller { client: SECOND_HANDS + number, ..caller.clone() },
            dice: dice(seed, episode, 1 + u64::from(number)),
            nodes,
            reuses: plan.shape.reuses,
        };
        for number in 0..ACTORS {
            tasks.spawn(actor(number).works(over.clone()));
        }
        if let [Planned { kind: Kind::SqlPool, .. }] = *plan.faults {
            for number in 0..RUSHERS * u32::from(nodes) {
                let node = u8::try_from(number % u32::from(nodes)).unwrap_or(0);
                tasks.spawn(actor(FIRST_RUSHER + number).rushes(node, rush.clone(), over.clone()));
            }
        }
        for node in 0..nodes {
            for hand in 0..CHECKERS {
                let client = FIRST_CHECKER + CHECKERS * u32::from(node) + hand;
                let caller = Caller { client, ..caller.clone() };
                tasks.spawn(checks(caller, node, dice(seed, episode, u64::from(client)), over.clone()));
            }
            for hand in 0..WATCHERS {
                let client = FIRST_WATCHER + WATCHERS * u32::from(node) + hand;
                let caller = Caller { client, ..caller.clone() };
                tasks.spawn(watches(caller, node, hand, over.clone()));
            }
        }
        Self { over, tasks }
    }

    /// They finish what they are at, and go.
    pub(super) async fn end(self) {
        self.over.cancel();
        self.tasks.join_all().await;
    }
}

async fn checks(caller: Caller, node: u8, mut dice: StdRng, over: CancellationToken) {
    while !over.is_cancelled() {
        let Some((token, text, is_over)) = caller.tables.to_check(node, &mut dice) else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        // What has ended has ended by every way; what lives is asked about by the one that needs no database.
        let path = if is_over && dice.random_bool(0.3) { "/v1/auth/me" } else { "/v1/auth/verify" };
        let answer = caller.check_by(node, token, &text, path).await;
        // A node that is not there answers at once; it is not to be asked a thousand times a second.
        let pause = if answer == Answer::Lost { 50 } else { dice.random_range(0..8) };
        sleep(Duration::from_millis(pause)).await;
    }
}

/// Asks about a token of its own, and about nothing else; the token is a new one when the node says that it is dead.
async fn watches(caller: Caller, node: u8, hand: u32, over: CancellationToken) {
    let which = usize::from(node) + usize::try_from(hand).unwrap_or(0);
    let Some(user) = caller.tables.spared_user(which) else { return };
    let mut held: Option<(Token, String)> = None;
    while !over.is_cancelled() {
        let Some((token, text)) = held.take() else {
            if let Answer::Issued { token, .. } = caller.log_in(node, user).await {
                held = Some((token, caller.tables.text(token)));
            } else {
                sleep(Duration::from_millis(50)).await;
            }
            continue;
        };
        let answer = caller.check(node, token, &text).await;
        if !matches!(answer, Answer::Denied { .. }) {
            held = Some((token, text));
        }
        sleep(Duration::from_millis(if answer == Answer::Lost { 50 } else { 15 })).await;
    }
}

/// One who acts.
#[derive(Debug)]
struct Actor {
    caller: Caller,
    second: Caller,
    dice: StdRng,
    nodes: u8,
    reuses: bool,
}

impl Actor {
    async fn works(mut self, over: CancellationToken) {
        while !over.is_cancelled() {
            Box::pin(self.acts()).await;
            let pause = Duration::from_millis(self.dice.random_range(5..40));
            let _ = timeout(pause, over.cancelled()).await;
        }
    }

    /// Refreshes at one node, for as long as there is a rush.
    async fn rushes(mut self, node: u8, mut rush: watch::Receiver<bool>, over: CancellationToken) {
        loop {
            let begins = rush.wait_for(|is_rush| *is_rush);
            match over.run_until_cancelled(begins).await {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            }
            Box::pin(self.refreshes(node)).await;
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn node(&mut self) -> u8 {
        self.dice.random_range(0..self.nodes)
    }

    async fn acts(&mut self) {
        let node = self.node();
        if self.caller.tables.count_living() < CROWD && self.dice.random_bool(0.7) {
            return self.logs_in(node).await;
        }
        match self.dice.random_range(0..100) {
            0..20 => self.logs_in(node).await,
            20..40 => self.refreshes(node).await,
            40..50 if self.reuses => self.reuses(node).await,
            40..68 => self.logs_out(node).await,
            68..76 => self.logs_out_everywhere(node).await,
            76..80 => self.changes_password(node).await,
            80..86 => self.bans(node).await,
            86..91 => self.changes_roles(node).await,
            _ => self.ends_token(node).await,
        }
    }

    async fn logs_in(&mut self, node: u8) {
        let user = self.caller.tables.any_user(&mut self.dice);
        self.caller.log_in(node, user).await;
    }

    fn living(&mut self) -> Option<(User, Session)> {
        let session = self.caller.tables.living(&mut self.dice)?;
        Some((self.caller.tables.family(session).user, session))
    }

    async fn refreshes(&mut self, node: u8) {
        let Some((user, session)) = self.living() else { return };
        let Some(&ticket) = self.caller.tables.family(session).tickets.last() else { return };
        if !self.reuses {
            // Once, and not again when its answer is lost: the second try would come an hour later.
            if self.caller.tables.paper(ticket).used.is_none() {
                self.caller.refresh(node, user, session, ticket).await;
            }
        } else if self.dice.random_bool(0.3) {
            // Two tabs at once, at two nodes.
            let other = self.node();
            tokio::join!(
                Box::pin(self.caller.refresh(node, user, session, ticket)),
                Box::pin(self.second.refresh(other, user, session, ticket)),
            );
        } else {
            self.caller.refresh(node, user, session, ticket).await;
        }
    }

    /// Uses an old ticket: one within the grace gets its successor again, another one ends its session.
    async fn reuses(&mut self, node: u8) {
        let Some((user, session)) = self.living() else { return };
        let tickets = self.caller.tables.family(session).tickets;
        if tickets.len() < 2 {
            return self.refreshes(node).await;
        }
        let at = self.dice.random_range(0..tickets.len() - 1);
        let answer = self.caller.refresh(node, user, session, tickets[at]).await;
        if matches!(answer, Answer::Denied { .. }) {
            let tokens = self.caller.tables.ends(session);
            self.caller.tables.heat(&tokens);
        }
    }

    async fn logs_out(&mut self, node: u8) {
        let Some((user, session)) = self.living() else { return };
        let asked = Asked::EndSession { user, session };
        let tables = Arc::clone(&self.caller.tables);
        let family = tables.family(session);
        let way = self.dice.random_range(0..10);
        let other = tables.other_session(session).and_then(|other| tables.token_of(other, &mut self.dice));
        let token = tables.token_of(session, &mut self.dice);
        let tokens = tables.ends(session);
        let answer = match (way, other, family.tickets.last()) {
            (0..2, Some(other), _) => {
                let path = format!("/v1/auth/sessions/{}", family.id);
                self.caller.act(node, asked, Some(other), (Method::DELETE, &path), None).await
            }
            (2..4, _, Some(&ticket)) => {
                let body = json!({"refresh_token": tables.paper(ticket).text});
                self.caller.act(node, asked, None, (Method::POST, "/v1/auth/logout"), Some(body)).await
            }
            (4..5, ..) => {
                let command = json!({"command": "revoke_session", "session": family.id});
                self.caller.operate(node, asked, command).await
            }
            _ => self.caller.act(node, asked, token, (Method::POST, "/v1/auth/logout"), Some(json!({}))).await,
        };
        tables.heat(&tokens);
        if self.dice.random_bool(0.2) && matches!(answer, Answer::Receipt(_)) {
            // Again: it is idempotent, and a receipt of what was done before counts like the first.
            let node = self.node();
            self.caller.act(node, asked, token, (Method::POST, "/v1/auth/logout"), Some(json!({}))).await;
            tables.heat(&tokens);
        }
    }

    async fn logs_out_everywhere(&mut self, node: u8) {
        let Some((user, session)) = self.living() else { return };
        let keep = self.dice.random_bool(0.5).then_some(session);
        let tables = Arc::clone(&self.caller.tables);
        let token = tables.token_of(session, &mut self.dice);
        let tokens = tables.ends_all(user, keep);
        let asked = Asked::EndAll { user, keep };
        if keep.is_none() && self.dice.random_bool(0.3) {
            let command = json!({"command": "revoke_user", "user": tables.account(user).name});
            self.caller.operate(node, asked, command).await;
        } else {
            let body = Some(json!({"keep_current": keep.is_some()}));
            self.caller.act(node, asked, token, (Method::POST, "/v1/auth/logout-all"), body).await;
        }
        tables.heat(&tokens);
    }

    async fn changes_password(&mut self, node: u8) {
        let Some((user, keep)) = self.living() else { return };
        let tables = Arc::clone(&self.caller.tables);
        let (token, account) = (tables.token_of(keep, &mut self.dice), tables.account(user));
        let tokens = tables.ends_all(user, Some(keep));
        let body = json!({"current": PASSWORDS[account.password], "new": PASSWORDS[1 - account.password]});
        let asked = Asked::Password { user, keep };
        let answer = self.caller.act(node, asked, token, (Method::POST, "/v1/auth/password"), Some(body)).await;
        if matches!(answer, Answer::Issued { .. } | Answer::Receipt(_)) {
            tables.has_password(user, 1 - account.password);
        }
        tables.heat(&tokens);
    }

    async fn bans(&mut self, node: u8) {
        let Some((user, _)) = self.living() else { return };
        let tables = Arc::clone(&self.caller.tables);
        let name = tables.account(user).name;
        let tokens = tables.ends_all(user, None);
        self.caller.operate(node, Asked::Ban { user }, json!({"command": "user_ban", "user": name})).await;
        tables.heat(&tokens);
        if self.dice.random_bool(0.5) {
            // In vain.
            let node = self.node();
            self.caller.log_in(node, user).await;
        }
        let command = json!({"command": "user_unban", "user": name});
        for _ in 0..20 {
            let node = self.node();
            let answer = self.caller.operate(node, Asked::Unban { user }, command.clone()).await;
            if answer == Answer::Allowed {
                break;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn changes_roles(&mut self, node: u8) {
        let Some((user, _)) = self.living() else { return };
        let tables = Arc::clone(&self.caller.tables);
        let tokens: Vec<Token> = tables.ends_tokens(user, None);
        // Never the same twice: a change to the same roles ends nothing.
        let role = format!("role-{}", self.dice.random_range(0..1_000_000_000));
        let command = json!({"command": "user_roles", "user": tables.account(user).name, "roles": [role]});
        self.caller.operate(node, Asked::Roles { user }, command).await;
        tables.heat(&tokens);
    }

    async fn ends_token(&mut self, node: u8) {
        let Some((user, session)) = self.living() else { return };
        let tables = Arc::clone(&self.caller.tables);
        let Some(token) = tables.token_of(session, &mut self.dice) else { return };
        let tokens = tables.ends_tokens(user, Some(token));
        let Some(id) = claim(&tables.text(token), "jti") else { return };
        let command = json!({"command": "revoke_token", "token": id});
        self.caller.operate(node, Asked::EndToken { user, session, token }, command).await;
        tables.heat(&tokens);
    }
}
