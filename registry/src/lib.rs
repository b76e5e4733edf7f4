//! What every registry adapter speaks: updates, conditions, backoff.
