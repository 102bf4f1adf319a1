//! Whether a database is exactly the one that the FastAPI service had, so that nothing can be lost unseen.

use tokio_postgres::Transaction;

use crate::Failure;

/// The last revision of the service that is replaced.
const REVISION: &str = "a218f9007143";

/// At most so many differences are told.
const MOST_DIFFERENCES: usize = 10;

// Everything in the schema `public` that belongs to no extension, everything else that hangs on its tables, a
// line each. Not-null constraints are told with their columns: they have rows of their own since PostgreSQL 18.
// A history without rows is left by a `migrate` that failed.
const DESCRIBE: &str = include_str!("describe.sql");

/// What [`DESCRIBE`] says of the service's own database.
const EXPECTED: &str = include_str!("expected.txt");

// What has to be right about the database, and the permissions of whoever is connected.
const CIRCUMSTANCES: &str = "
    select current_user::text as role,
           pg_encoding_to_char(encoding) as encoding,
           coalesce(has_schema_privilege('public', 'create'), false) as can_create,
           (select string_agg(distinct relowner::regrole::text, ', ') from pg_class
            where relnamespace = 'public'::regnamespace and relkind = 'r' and not pg_has_role(relowner, 'usage')
              and relname in ('alembic_version', 'users', 'posts', 'votes', 'refresh_tokens')) as other_owners,
           (select nspname::text from pg_extension join pg_namespace on pg_namespace.oid = extnamespace
            where extname = 'pg_trgm') as trigrams_in,
           exists (select from pg_available_extension_versions
                   where name = 'pg_trgm'
                     and ((select rolsuper from pg_roles where rolname = current_user)
                          or trusted and has_database_privilege(current_database(), 'create'))) as can_have_trigrams
    from pg_database
    where datname = current_database()";

/// What is in the way, a sentence each: nothing where the database is as expected.
pub(super) async fn objections(transaction: &Transaction<'_>) -> Result<Vec<String>, Failure> {
    let described = transaction.query_typed(DESCRIBE, &[]).await?;
    let described: Vec<&str> = described.iter().map(|row| row.get("line")).collect();
    let has_revision = described.contains(&"table alembic_version");
    if !has_revision && !described.contains(&"table users") {
        return Ok(vec![
            "There is nothing to adopt: it has no tables of the FastAPI service. `migrate` makes \
             those of this service."
                .to_owned(),
        ]);
    }
    let now = transaction.query_typed_one(CIRCUMSTANCES, &[]).await?;
    let role: &str = now.get("role");
    if let Some(owners) = now.get::<_, Option<&str>>("other_owners") {
        // Who may not act for them cannot look any further.
        return Ok(vec![format!(
            "The tables belong to {owners}, and {role} is connected: connect as their owner."
        )]);
    }
    let mut objections = Vec::new();
    if has_revision {
        let revisions = transaction
            .query_typed(
                "select version_num::text as revision from alembic_version order by 1",
                &[],
            )
            .await?;
        let revisions: Vec<&str> = revisions.iter().map(|row| row.get("revision")).collect();
        if revisions != [REVISION] {
            objections.push(format!(
                "Its Alembic revision is {}, not {REVISION}: bring it there with the FastAPI \
                 service's own `alembic upgrade head` first.",
                if revisions.is_empty() {
                    "missing".to_owned()
                } else {
                    revisions.join(" and ")
                }
            ));
        }
    }
    let expected: Vec<&str> = EXPECTED.lines().collect();
    if let Some(surplus) = difference(&described, &expected) {
        objections.push(format!(
            "It has what the FastAPI service did not make: {surplus}. Drop it or take it back, or \
             move it to a schema of its own, and see to it afterwards."
        ));
    }
    if let Some(missing) = difference(&expected, &described) {
        objections.push(format!(
            "It lacks what the FastAPI service made: {missing}. Put it back as it was."
        ));
    }
    if !now.get::<_, bool>("can_create") {
        objections.push(format!(
            "{role} may not create tables: `grant create on schema public to {role}`."
        ));
    }
    let encoding: &str = now.get("encoding");
    if encoding != "UTF8" {
        objections.push(format!(
            "Its encoding is {encoding}: restore a dump of it into a database with the encoding \
             UTF8."
        ));
    }
    match now.get::<_, Option<&str>>("trigrams_in") {
        Some("public" | "pg_catalog") => {}
        Some(schema) => objections.push(format!(
            "Its extension pg_trgm is in the schema {schema}: `alter extension pg_trgm set schema \
             public`."
        )),
        None if now.get("can_have_trigrams") => {}
        None => objections.push(format!(
            "{role} cannot have the extension pg_trgm: install it on the server (Debian: \
             `postgresql-contrib`), and `create extension pg_trgm` as a superuser or `grant \
             create on database` to {role}."
        )),
    }
    Ok(objections)
}

/// The first few lines that are in one list and not in the other, if there are any.
fn difference(in_one: &[&str], in_other: &[&str]) -> Option<String> {
    let mut lines: Vec<_> = in_one
        .iter()
        .filter(|line| !in_other.contains(line))
        .copied()
        .collect();
    let more = lines.len().saturating_sub(MOST_DIFFERENCES);
    lines.truncate(MOST_DIFFERENCES);
    let rest = format!("{more} more");
    if more > 0 {
        lines.push(&rest);
    }
    (!lines.is_empty()).then(|| lines.join("; "))
}
