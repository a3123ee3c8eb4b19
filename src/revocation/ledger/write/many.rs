//! Many ids in one act: a few statements, however many they are.

use std::collections::{BTreeSet, HashMap};

use uuid::Uuid;

use super::{
    super::{Counts, Done, Many, ManyKind, Outcome, Target},
    Except, Floor, Lifted, THIS, Write,
};
use crate::{
    database::{DatabaseError, Query, placeholders, sql},
    ids::{Generation, Seq},
};

impl Write<'_> {
    pub(super) async fn many(&mut self, many: &Many) -> Result<Outcome, DatabaseError> {
        let ids: BTreeSet<Uuid> = many.ids.iter().copied().collect();
        let (counts, seq) = match many.kind {
            ManyKind::Token | ManyKind::Session => self.many_ended(many.kind, &ids).await?,
            ManyKind::Subject => self.many_subjects(&ids).await?,
        };
        let already = counts.revoked == 0;
        let target = many.kind.target(many.ids.first().copied().unwrap_or_default());
        Ok(Outcome::Done(Done { target, seq, already, kept: None, counts: Some(counts) }))
    }

    /// Tokens and sessions get a row each, also those that this database has no other word of: a token may be about.
    async fn many_ended(&mut self, kind: ManyKind, ids: &BTreeSet<Uuid>) -> Result<(Counts, Seq), DatabaseError> {
        let list = placeholders(2, ids.len());
        if kind == ManyKind::Session {
            Query::assembled([end_sessions!("AND id IN ("), &list, ")"].concat())
                .bind(self.now.as_millis())
                .bind_all(ids.iter().copied())
                .execute(&mut *self.tx)
                .await?;
        }
        let (code, _) = super::columns(kind.target(Uuid::nil()));
        let found = Query::assembled(format!(
            "SELECT id, max(seq) AS seq FROM revocations WHERE kind = $1 AND id IN ({list}) GROUP BY id"
        ))
        .bind(code)
        .bind_all(ids.iter().map(|id| id.as_bytes().to_vec()))
        .fetch_all(&mut *self.tx)
        .await?;
        let mut there = HashMap::new();
        for row in &found {
            there.insert(row.bytes("id")?, Seq(row.int("seq")?));
        }
        let mut counts = Counts::default();
        for &id in ids {
            let target = kind.target(id);
            if there.contains_key(id.as_bytes().as_slice()) || self.ended.contains(&target) {
                counts.already += 1;
            } else {
                self.new_row(target, None, Lifted::None);
                counts.revoked += 1;
            }
        }
        let newest = there.into_values().max().unwrap_or(THIS);
        Ok((counts, if counts.revoked > 0 { THIS } else { newest }))
    }

    /// Users get a floor each, of their own.
    async fn many_subjects(&mut self, ids: &BTreeSet<Uuid>) -> Result<(Counts, Seq), DatabaseError> {
        let raised = Query::assembled(format!(
            "UPDATE users SET generation = 1 + {{greatest}}(generation, (SELECT floor FROM head))
             WHERE id IN ({}) RETURNING id, generation",
            placeholders(1, ids.len())
        ))
        .bind_all(ids.iter().copied())
        .fetch_all(&mut *self.tx)
        .await?;
        let of_users = end_sessions!(
            "AND generation < (SELECT generation FROM users WHERE users.id = sessions.user_id) AND user_id IN ("
        );
        Query::assembled([of_users, &placeholders(2, ids.len()), ")"].concat())
            .bind(self.now.as_millis())
            .bind_all(ids.iter().copied())
            .execute(&mut *self.tx)
            .await?;
        for row in &raised {
            let floor = Floor { generation: Generation(row.int("generation")?), except: Except::Nothing };
            self.new_row(Target::Subject(row.uuid("id")?.into()), Some(floor), Lifted::None);
        }
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let counts = Counts { revoked: count(raised.len()), already: 0, absent: count(ids.len() - raised.len()) };
        if counts.revoked > 0 {
            return Ok((counts, THIS));
        }
        let head = sql("SELECT seq FROM head").fetch_one(&mut *self.tx).await?.int("seq")?;
        Ok((counts, Seq(head)))
    }
}
