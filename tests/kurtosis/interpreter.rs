//! Runs Starlark packages as Kurtosis does: every module knows Kurtosis' constructors, imports other modules by locator,
//! and what it asks of the plan is written down.

use anyhow::{Context, bail};
use serde_json::Value as Json;
use starlark::{
    environment::{FrozenModule, Globals, GlobalsBuilder, LibraryExtension, Module},
    eval::Evaluator,
    starlark_module,
    syntax::{AstModule, Dialect},
    values::{Value, none::NoneType, structs::AllocStruct},
};
use std::{cell::RefCell, collections::HashMap, path::PathBuf};

/// One thing that was asked of the plan: its kind and what it was asked with.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) kind: String,
    pub(crate) with: Json,
}

#[derive(Default)]
struct State {
    /// Packages by locator, and where they lie.
    packages: Vec<(String, PathBuf)>,
    modules: HashMap<String, FrozenModule>,
    asked: Vec<Asked>,
}

thread_local! {
    // A test has a thread of its own.
    static STATE: RefCell<State> = RefCell::default();
}

/// Standard output of a module that is not at hand: nothing of it is called.
const ABSENT: [&str; 2] = [
    "github.com/kurtosis-tech/postgres-package/",
    "github.com/kurtosis-tech/redis-package/",
];

#[starlark_module]
fn natives(builder: &mut GlobalsBuilder) {
    fn import_module<'v>(locator: &str, eval: &mut Evaluator<'v, '_, '_>) -> anyhow::Result<Value<'v>> {
        let locator = absolute(locator, &file_of_caller(eval, 0)?)?;
        if ABSENT.iter().any(|absent| locator.starts_with(absent)) {
            return Ok(eval.heap().alloc(AllocStruct::EMPTY));
        }
        let module = load(&locator)?;
        let mut symbols = Vec::new();
        for name in module.names() {
            let value = module.get(name.as_str())?;
            symbols.push((
                name.as_str().to_owned(),
                eval.heap().access_owned_frozen_value(&value),
            ));
        }
        Ok(eval.heap().alloc(AllocStruct(symbols)))
    }

    fn read_file(src: &str, eval: &mut Evaluator<'_, '_, '_>) -> anyhow::Result<String> {
        let locator = absolute(src, &file_of_caller(eval, 0)?)?;
        std::fs::read_to_string(path_of(&locator)?).with_context(|| locator)
    }

    /// The path of what a function of the plan was given, which is its caller's.
    fn resolve(src: &str, eval: &mut Evaluator<'_, '_, '_>) -> anyhow::Result<String> {
        let locator = absolute(src, &file_of_caller(eval, 1)?)?;
        let path = path_of(&locator)?;
        if !path.exists() {
            bail!("{locator}: {} is not there", path.display());
        }
        Ok(path.display().to_string())
    }

    fn record(kind: &str, with: Value<'_>) -> anyhow::Result<NoneType> {
        let with = with.to_json_value()?;
        let kind = kind.to_owned();
        STATE.with_borrow_mut(|state| state.asked.push(Asked { kind, with }));
        Ok(NoneType)
    }
}

/// Kurtosis' `json`: the interpreter's own has no `indent`.
#[starlark_module]
fn json_natives(builder: &mut GlobalsBuilder) {
    fn encode(x: Value<'_>) -> anyhow::Result<String> {
        x.to_json()
    }

    fn decode<'v>(x: &str, eval: &mut Evaluator<'v, '_, '_>) -> anyhow::Result<Value<'v>> {
        Ok(eval.heap().alloc(serde_json::from_str::<Json>(x)?))
    }

    fn indent(x: &str) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(&serde_json::from_str::<Json>(x)?)?)
    }
}

/// The module whose code called, `depth` Starlark functions up.
fn file_of_caller(eval: &Evaluator<'_, '_, '_>, depth: usize) -> anyhow::Result<String> {
    let place = eval.call_stack_nth_location(depth).context("nobody called")?;
    Ok(place.filename().to_owned())
}

/// `./x` and `../x` lie beside the caller, `/x` in its package, all else is absolute already.
fn absolute(locator: &str, caller: &str) -> anyhow::Result<String> {
    if locator.starts_with("github.com/") {
        return Ok(locator.to_owned());
    }
    let package = package_of(caller)?;
    let base = match locator.starts_with('/') {
        true => package,
        false => caller
            .rsplit_once('/')
            .context("the caller is no file")?
            .0
            .to_owned(),
    };
    let mut parts: Vec<&str> = base.split('/').collect();
    for part in locator.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let found = parts.join("/");
    if package_of(&found)? != package_of(caller)? {
        bail!("{locator} leaves the package of {caller}");
    }
    Ok(found)
}

fn package_of(locator: &str) -> anyhow::Result<String> {
    STATE
        .with_borrow(|state| {
            let found = state
                .packages
                .iter()
                .find(|(package, _)| locator.starts_with(package.as_str()));
            found.map(|(package, _)| package.clone())
        })
        .with_context(|| format!("{locator} is in no package that is at hand"))
}

fn path_of(locator: &str) -> anyhow::Result<PathBuf> {
    let package = package_of(locator)?;
    let root = STATE.with_borrow(|state| {
        let found = state.packages.iter().find(|(name, _)| *name == package);
        found.map(|(_, path)| path.clone())
    });
    let rest = locator.strip_prefix(&package).unwrap_or_default();
    Ok(root
        .context("no such package")?
        .join(rest.trim_start_matches('/')))
}

fn globals() -> Globals {
    GlobalsBuilder::extended_by(&[LibraryExtension::StructType])
        .with(natives)
        .with_namespace("json", json_natives)
        .build()
}

fn dialect() -> Dialect {
    Dialect {
        enable_top_level_stmt: true,
        ..Dialect::Standard
    }
}

fn evaluated(name: &str, text: String, beneath: Option<&FrozenModule>) -> anyhow::Result<FrozenModule> {
    let ast = AstModule::parse(name, text, &dialect()).map_err(starlark::Error::into_anyhow)?;
    Module::with_temp_heap(|module| {
        if let Some(beneath) = beneath {
            module.import_public_symbols(beneath);
        }
        let globals = globals();
        let mut eval = Evaluator::new(&module);
        eval.eval_module(ast, &globals)
            .map_err(starlark::Error::into_anyhow)?;
        drop(eval);
        module.freeze().map_err(|error| anyhow::anyhow!("{error:?}"))
    })
}

const KURTOSIS: &str = "kurtosis.star";

fn load(locator: &str) -> anyhow::Result<FrozenModule> {
    if let Some(module) = STATE.with_borrow(|state| state.modules.get(locator).cloned()) {
        return Ok(module);
    }
    let module = match locator {
        KURTOSIS => {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/stand-ins/kurtosis.star");
            evaluated(KURTOSIS, std::fs::read_to_string(path)?, None)?
        }
        _ => {
            let text = std::fs::read_to_string(path_of(locator)?).with_context(|| locator.to_owned())?;
            evaluated(locator, text, Some(&load(KURTOSIS)?))?
        }
    };
    STATE.with_borrow_mut(|state| state.modules.insert(locator.to_owned(), module.clone()));
    Ok(module)
}

/// Runs the `run` of the module at `locator`, over a new plan; what was asked of the plan, and what came back.
pub(crate) fn run(
    packages: &[(String, PathBuf)],
    locator: &str,
    args: &Json,
) -> anyhow::Result<(Vec<Asked>, String)> {
    let fresh = State {
        packages: packages.to_vec(),
        ..State::default()
    };
    STATE.with_borrow_mut(|state| *state = fresh);
    let returned = run_over_state(locator, args);
    // Modules must not outlive the interpreter's own state of this thread.
    let state = STATE.with_borrow_mut(std::mem::take);
    Ok((state.asked, returned?))
}

fn run_over_state(locator: &str, args: &Json) -> anyhow::Result<String> {
    let kurtosis = load(KURTOSIS)?;
    let main = load(locator)?;
    Module::with_temp_heap(|module| {
        let new_plan = module
            .heap()
            .access_owned_frozen_value(&kurtosis.get("stand_in_plan")?);
        let run = module.heap().access_owned_frozen_value(&main.get("run")?);
        let args = module.heap().alloc(args.clone());
        let mut eval = Evaluator::new(&module);
        let plan = eval
            .eval_function(new_plan, &[], &[])
            .map_err(starlark::Error::into_anyhow)?;
        let returned = eval
            .eval_function(run, &[plan, args], &[])
            .map_err(starlark::Error::into_anyhow)?;
        Ok(returned.to_str())
    })
}
