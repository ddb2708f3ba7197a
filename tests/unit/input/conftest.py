# SPDX-License-Identifier: LGPL-3.0-or-later
import pytest

from pqrun.input.jobfile import JobFileError, load


class Files:
    """Job files that are nowhere but in memory."""

    def load(self, text, given=None, *, name="jobs.yaml", **more):
        return self.load_all({name: text}, given, **more)

    def load_all(self, texts, given=None, **more):
        data = {name: text if isinstance(text, bytes) else text.encode() for name, text in texts.items()}
        return load(list(texts), given or {}, read=data.__getitem__, **more)

    def says(self, text, **more):
        """What is said about a file that is wrong."""
        texts = text if isinstance(text, dict) else {"jobs.yaml": text}
        with pytest.raises(JobFileError) as raised:
            self.load_all(texts, **more)
        return str(raised.value)


@pytest.fixture
def files():
    return Files()
