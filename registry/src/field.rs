//! What is wrong with which field of an object.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// One step into an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Into the field or key of this name.
    Field(Arc<str>),
    /// Into the item at this index, from 0.
    Index(usize),
}

/// The way from an object to one of its fields; written `ports[0].number`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FieldPath(Vec<Step>);

impl FieldPath {
    /// The object itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// The field `name` in there.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        self.with(Step::Field(name.into()))
    }

    /// The item at `index` in there.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// The steps from the object inwards.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

impl FromIterator<Step> for FieldPath {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if at == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// One field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Which field; of one that is missing, its parent.
    pub field: FieldPath,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.steps().is_empty() {
            return f.write_str(&self.problem);
        }
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// Everything that is wrong with one object, in the order found.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Problems(Vec<Invalid>);

impl Problems {
    /// Adds one.
    pub fn add(&mut self, field: FieldPath, problem: impl Into<String>) {
        self.0.push(Invalid { field, problem: problem.into() });
    }

    /// Those found so far.
    pub fn all(&self) -> &[Invalid] {
        &self.0
    }

    /// `value`, unless something was found.
    ///
    /// # Errors
    ///
    /// Everything that was found.
    pub fn unless<T>(self, value: impl FnOnce() -> T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value()) } else { Err(self) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, invalid) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{invalid}")?;
        }
        Ok(())
    }
}

impl Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_written_with_their_fields() {
        let mut problems = Problems::default();
        let ports = FieldPath::root().field("ports");
        problems.add(ports.index(0).field("number"), "0 is no port");
        problems.add(FieldPath::root(), "names no host");
        assert_eq!(problems.to_string(), "ports[0].number: 0 is no port; names no host");
    }
}
