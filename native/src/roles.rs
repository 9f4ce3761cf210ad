//! Role instances: checked, and compiled to the table from domain to group that every producer asks.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

use callstore::domain::{self, Placement, Problem, Responsibility, Role, Tree};
use callstore::event::Head;
use callstore::event::input::Taken;
use rustler::{Atom, Binary, Encoder, Env, NifResult, Resource, ResourceArc, Term};

use crate::{atoms, terms};

/// How many calls are remembered by the group in which they live.
const PLACES: usize = 1 << 20;

/// Where calls live, for all producers of this node and over changes of the configuration.
static PLACEMENT: LazyLock<Placement> = LazyLock::new(|| Placement::new(PLACES));

/// Domain to group, and the producers' names for types.
pub struct Router {
    table: Responsibility,
    only: Option<u32>,
    /// Producers' names for types.
    pub aliases: HashMap<String, String>,
}

#[rustler::resource_impl]
impl Resource for Router {}

impl Router {
    /// The group that serves a call: where it lives, or else by its domain.
    pub fn group(&self, taken: &Taken<'_>) -> u32 {
        if let Some(only) = self.only {
            return only;
        }
        let call = identity(&taken.head);
        let wanted = taken
            .domain()
            .and_then(|domain| self.table.group_of(domain));
        match (wanted, PLACEMENT.get(call)) {
            (Some(wanted), None) => PLACEMENT.place(call, wanted),
            (_, Some(known)) if self.table.has_group(known) => known,
            (wanted, _) => wanted
                .or_else(|| self.table.rest())
                .or_else(|| self.table.groups().next())
                .unwrap_or(0),
        }
    }
}

fn identity(head: &Head<'_>) -> u64 {
    let mut hasher = foldhash::fast::FixedState::default().build_hasher();
    match head.cid {
        Some(cid) => hasher.write(&cid),
        None => {
            hasher.write(head.acallid.unwrap_or_default().as_bytes());
            hasher.write_i64(head.invitets.unwrap_or_default());
        }
    }
    hasher.finish()
}

fn problem_term<'a>(env: Env<'a>, problem: &Problem) -> Term<'a> {
    let keys = [
        atoms::instance(),
        atoms::key(),
        atoms::value(),
        atoms::reason(),
        atoms::text(),
    ];
    let reason = Atom::from_str(env, problem.reason.as_str()).unwrap_or_else(|_| atoms::badarg());
    let values = [
        terms::binary(env, problem.instance.as_bytes()),
        terms::binary(env, problem.key.as_bytes()),
        terms::from_json(env, &problem.value),
        reason.encode(env),
        terms::binary(env, problem.text.as_bytes()),
    ];
    terms::map(env, &keys.map(|key| key.encode(env)), &values)
}

fn problem_terms<'a>(env: Env<'a>, problems: &[Problem]) -> Vec<Term<'a>> {
    problems
        .iter()
        .map(|problem| problem_term(env, problem))
        .collect()
}

/// The roles of a text, and the warnings about them, in the tree below the master domain.
fn read(text: &[u8], tree: &Tree) -> Result<(Vec<Role>, Vec<Problem>), Vec<Problem>> {
    let (roles, mut warnings) = domain::roles_from_json(text)?;
    warnings.extend(domain::check(&roles, tree)?);
    Ok((roles, warnings))
}

fn tree(master_domain: Option<&str>) -> Result<Tree, Vec<Problem>> {
    Tree::new(master_domain, [])
}

/// Checks role instances; the checked ones have all parameters.
#[rustler::nif(schedule = "DirtyCpu")]
fn check_roles<'a>(env: Env<'a>, text: Binary<'a>, master_domain: &str) -> Term<'a> {
    match tree(Some(master_domain)).and_then(|tree| read(text.as_slice(), &tree)) {
        Ok((roles, warnings)) => {
            let roles: Vec<Term<'a>> = roles
                .iter()
                .map(|role| terms::from_json(env, &role.to_json()))
                .collect();
            (atoms::ok(), roles, problem_terms(env, &warnings)).encode(env)
        }
        Err(problems) => (atoms::error(), problem_terms(env, &problems)).encode(env),
    }
}

/// Compiles role instances to a table.
#[rustler::nif(schedule = "DirtyCpu")]
fn router<'a>(env: Env<'a>, text: Binary<'a>, settings: Term<'a>) -> NifResult<Term<'a>> {
    let aliases = match settings.map_get(atoms::event_aliases()) {
        Ok(aliases) => aliases.decode()?,
        Err(_) => HashMap::new(),
    };
    let master_domain = settings.map_get(atoms::master_domain());
    let master_domain: Option<&str> = master_domain.ok().map(|term| term.decode()).transpose()?;
    let compiled = tree(master_domain).and_then(|tree| {
        let (roles, _) = read(text.as_slice(), &tree)?;
        Responsibility::compile(&roles, tree)
    });
    match compiled {
        Ok((table, _)) => {
            let mut groups = table.groups();
            let only = groups.next().filter(|_| groups.next().is_none());
            drop(groups);
            PLACEMENT.retain_groups(|group| table.has_group(group));
            let router = ResourceArc::new(Router {
                table,
                only,
                aliases,
            });
            Ok((atoms::ok(), router).encode(env))
        }
        Err(problems) => Ok((atoms::error(), problem_terms(env, &problems)).encode(env)),
    }
}

/// The group that serves a domain.
#[rustler::nif]
fn route<'a>(env: Env<'a>, router: ResourceArc<Router>, domain: &str) -> Term<'a> {
    match router.table.group_of(domain) {
        Some(group) => (atoms::ok(), group).encode(env),
        None => atoms::none().encode(env),
    }
}
