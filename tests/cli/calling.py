"""A command as its tests call it."""

from rebel_pref.cli import main


def caller(command):
    """From capsys and arguments to exit code, standard output and standard error."""

    def call(capsys, *argv):
        code = main([command, *map(str, argv)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
