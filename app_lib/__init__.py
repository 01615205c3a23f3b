"""What the pages of the app share: the read-only connection, limited SQL, charts, and small pieces of the page."""
