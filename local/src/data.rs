//! The folder where `cargo local` keeps its database and its signing key from one run to the next.

use std::{
    env, io,
    path::{Path, PathBuf},
};

use shared::config::{BadSetting, MIN_SECRET_KEY_BYTES, Settings};

use crate::{
    postgres::{self, Failure},
    settings::development_key,
};

/// The folder `.local` of the workspace, or the one that `LOCAL_DATA` names.
pub struct Data {
    folder: PathBuf,
    /// Where it was until it was moved out of what `cargo clean` deletes.
    before: Option<PathBuf>,
}

impl Data {
    /// The folder that the settings name. Without one it is `.local` in the folder of the workspace that this
    /// program was built from, or in the current one if that is gone.
    pub fn of(settings: &Settings<'_>) -> Self {
        if let Some(folder) = settings.get("LOCAL_DATA") {
            return Self::new(folder.into(), None);
        }
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let parent = workspace.filter(|folder| folder.is_dir());
        // `target/debug/local` belongs to `target`.
        let program = env::current_exe().ok();
        let target = program.as_deref().and_then(|it| it.ancestors().nth(2));
        Self::new(
            parent.unwrap_or(Path::new("")).join(".local"),
            target.map(Path::to_path_buf),
        )
    }

    /// This folder; what is there of earlier versions was kept in `before`.
    pub fn new(folder: PathBuf, before: Option<PathBuf>) -> Self {
        Self { folder, before }
    }

    /// The home of the private database.
    pub fn database(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    /// Makes the folder, if need be with the database that earlier versions kept in `target`.
    ///
    /// # Errors
    ///
    /// The database cannot be moved: no other one is made in its stead.
    pub async fn prepare_database(
        &self,
        say: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), Failure> {
        postgres::make_data_folder(&self.folder)?;
        let new = self.database();
        if let Some(old) = self.before("postgres")
            && old.join("database").exists()
            && !new.exists()
        {
            postgres::relocate(&old, &new).await?;
            let (old, new) = (old.display(), new.display());
            say(&format!("Moved the database from {old} to {new}."));
        }
        Ok(())
    }

    /// A signing key for development, made once. One that earlier versions kept in `target` goes on.
    ///
    /// # Errors
    ///
    /// Its file cannot be read or written, or holds no key.
    pub fn key(&self) -> Result<String, BadSetting> {
        let bad = |failure: Failure| BadSetting::new(failure.to_string());
        postgres::make_data_folder(&self.folder).map_err(bad)?;
        let path = self.folder.join("secret-key");
        if let Some(old) = self.before("local-secret-key")
            && old.exists()
            && !path.exists()
        {
            postgres::rename(&old, &path).map_err(bad)?;
        }
        let shown = path.display();
        let key = development_key(&path).map_err(|error| {
            let whose = match error.kind() {
                io::ErrorKind::PermissionDenied => " Was it made by another user, root perhaps?",
                _ => "",
            };
            BadSetting::new(format!("{shown} cannot be used: {error}.{whose}"))
        })?;
        if key.len() < MIN_SECRET_KEY_BYTES {
            return Err(BadSetting::new(format!(
                "{shown} holds no signing key; delete it, and another one is made."
            )));
        }
        Ok(key)
    }

    /// Where something was before.
    fn before(&self, name: &str) -> Option<PathBuf> {
        self.before.as_ref().map(|folder| folder.join(name))
    }
}
