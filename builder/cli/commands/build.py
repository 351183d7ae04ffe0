"""``pybuild build``: from the command line to the image."""

from __future__ import annotations

from builder.cli.build_options import OPTIONS
from builder.cli.calling import answer, call_of
from builder.cli.commands import Command
from builder.cli.diagnostics import of_system, trace
from builder.cli.environment import Surroundings
from builder.cli.options import Parsed
from builder.cli.render import display, mode_of
from builder.cli.request import check_attestations, compile_request
from builder.errors import BuilderError, UsageError


def run(parsed: Parsed, world: Surroundings) -> int:
    """Build; 0, or 1 if the build failed.

    raises   UsageError
    """
    mode = mode_of(parsed.value("progress"), parsed.flag("quiet"), world.stderr, world.environ)
    check_attestations(parsed)
    call = call_of(parsed)
    request, notes = compile_request(parsed, world)
    screen = display(mode, world.stderr, world.environ)
    screen.details = parsed.flag("debug")
    try:
        for note in notes:
            screen.emit(note)
        if call is not None:
            code, mistake = answer(call, request, world, screen.emit)
            if mistake is not None:
                screen.fail(mistake)
            return code
        # All the rest of the program: not needed to say what is wrong with a command line.
        from builder.build import build

        built = build(request, screen.emit)
    except UsageError:
        raise
    except (BuilderError, OSError) as e:
        if parsed.flag("debug"):
            screen.close()
            world.stderr.write(trace(e))
        screen.fail(of_system(e) if isinstance(e, OSError) else e)
        return 1
    except KeyboardInterrupt:
        screen.interrupted()
        return 130
    finally:
        screen.close()
    if mode == "quiet" and built:
        # What Docker calls the image's id; of several platforms there is only the index to name.
        world.stdout.write(f"{built.config if len(request.platforms) < 2 else built.digest}\n")
    return 0


COMMAND = Command(
    name="build",
    usage="[build] [OPTIONS] CONTEXT",
    description=(
        "Builds an image from a Dockerfile. CONTEXT is a folder, a tarball, the URL of one or of a git repository, or "
        "- for a tar or a Dockerfile on stdin. Without --output the image is written to ./NAME.tar, for docker load; "
        "NAME is the last part of the first tag's repository, or else of the context's name."
    ),
    options=OPTIONS,
    examples=(
        "pybuild .                                             # writes ./NAME.tar; docker load -i NAME.tar",
        "pybuild -t registry.example.com/team/app:1.2 --push .",
        "pybuild -f docker/Dockerfile --target test --build-arg VERSION=1.2 .",
        "pybuild -o type=oci,dest=app.oci,tar=false .          # an OCI layout in the folder app.oci",
        "pybuild -o out .                                      # the root file system into the folder out",
        "pybuild --secret id=token,env=TOKEN .                 # for RUN --mount=type=secret,id=token",
        "pybuild --platform linux/amd64,linux/arm64 -o type=oci,dest=app.tar .",
        "pybuild - < Dockerfile                                # no context",
        "pybuild --check .                                     # what is odd about the Dockerfile",
        "pybuild --call=check,format=github .                  # the same, for a GitHub workflow",
    ),
    arguments=(1, 1),
    run=run,
)
