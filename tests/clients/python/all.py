"""All Python clients: `ACTIX_SQLITE_URL=http://127.0.0.1:4280 python all.py`. One TAP line a check."""

import sys
import unittest

import test_libsql_client
import test_sqlalchemy


class Tap(unittest.TestResult):
    """Prints `ok 1 - NAME` or `not ok 1 - NAME` with the reason."""

    def _line(self, word, test, reason=""):
        name = test.shortDescription() or str(test)
        print(f"{word} {self.testsRun} - {name}{reason}", flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self._line("ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._line("not ok", test)
        print("# " + self.failures[-1][1].replace("\n", "\n# "))

    def addError(self, test, err):
        super().addError(test, err)
        self._line("not ok", test)
        print("# " + self.errors[-1][1].replace("\n", "\n# "))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._line("ok", test, f" # SKIP {reason}")


checks = unittest.TestSuite()
for module in (test_libsql_client, test_sqlalchemy):
    checks.addTests(unittest.defaultTestLoader.loadTestsFromModule(module))
result = Tap()
checks.run(result)
print(f"1..{result.testsRun}")
sys.exit(0 if result.wasSuccessful() else 1)
