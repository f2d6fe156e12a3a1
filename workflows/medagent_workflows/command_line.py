# SPDX-License-Identifier: Apache-2.0
"""The command line. Data go to standard output; progress, messages and logs to standard error.

Only this module is loaded for `medagent --help`: each command imports what it runs when it runs.
Exit status: 0 done, 1 failed, 2 wrong use, 3 abstained where `--fail-on-abstain` asks for it.
"""

import sys
from collections.abc import Sequence
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from medagent.errors import MedAgentError, UsageError

FAILED, WRONG_USE, ABSTAINED = 1, 2, 3

app = typer.Typer(
    name="medagent",
    help="Clinical decision support whose every claim is tied to the bytes it came from.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
audit = typer.Typer(help="What happened: list it, look at it, verify it.", no_args_is_help=True)
database = typer.Typer(help="The database.", no_args_is_help=True)
models = typer.Typer(help="The model's server: what to serve, how, will it do.", no_args_is_help=True)
ehrs = typer.Typer(help="The site's EHRs: which, do they work, keys for them.", no_args_is_help=True)
app.add_typer(audit, name="audit")
app.add_typer(models, name="model")
app.add_typer(ehrs, name="ehr")
app.add_typer(database, name="db")


class OutputFormat(StrEnum):
    """How a run is written."""

    TEXT = "text"
    JSON = "json"


FormatOption = Annotated[OutputFormat, typer.Option("--format", help="For people, or one JSON document.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Write to this file instead of standard output.")]


@app.command(short_help="Run the sample patients; find a forged record out.")
def demo(
    out: Annotated[Path | None, typer.Option("--out", help="Keep the records in this folder.")] = None,
) -> None:
    """Show what MedAgent says about the sample patients, and a forged record found out."""
    from medagent_workflows import demonstration  # noqa: PLC0415 - loaded when run, so that --help stays quick

    demonstration.run(out)


@app.command(short_help="Say what guidelines put forward for one patient.")
def recommend(
    fhir: Annotated[
        str | None,
        typer.Option("--fhir", help="FHIR base URL, Bundle, NDJSON, or a folder. Default: MEDAGENT_FHIR_URL."),
    ] = None,
    patient: Annotated[
        str | None, typer.Option("--patient", help="Id; needed for a server, and where a file has several.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="What was known at the end of this day, or 'latest'. Default: now.")
    ] = None,
    question: Annotated[str | None, typer.Option("--question", help="What the model is asked about the chart.")] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Folder of rendered images (PNG, JPEG), each named by its SOP Instance UID."),
    ] = None,
    adapter: Annotated[str | None, typer.Option("--adapter", help="LoRA adapter that the server has loaded.")] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="ID", help="Go on with a recorded request: same source, records and settings."
        ),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="The source is incomplete: nothing is concluded from absence.")
    ] = False,
    output_format: FormatOption = OutputFormat.TEXT,
    out: OutOption = None,
    fail_on_abstain: Annotated[
        bool, typer.Option("--fail-on-abstain", help="Exit with 3 where the outcome is abstained.")
    ] = False,
) -> None:
    """Say what guidelines put forward for one patient, each claim with its source.

    A server of MEDAGENT_EHRS_FILE is read by its backend service, any other only if it asks for no right.
    Where MEDAGENT_MODEL_URL and MEDAGENT_MODEL name a model, it reads the chart beside the guideline engine; what it
    notes is checked and stands apart. A run that is interrupted with Ctrl-C says how to go on.
    """
    from medagent_workflows import run_commands  # noqa: PLC0415 - loaded when run, so that --help stays quick

    abstained = run_commands.recommend(
        fhir=fhir,
        patient=patient,
        as_of=as_of,
        question=question,
        images=images,
        adapter=adapter,
        resume=resume,
        partial=partial,
        as_json=output_format is OutputFormat.JSON,
        out=out,
    )
    if abstained and fail_on_abstain:
        raise typer.Exit(ABSTAINED)


@app.command(short_help="Serve the SMART launch, its page and our public keys.")
def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="0: any that is free.")] = 8080,
) -> None:
    """Serve the SMART launch from an EHR, the page that follows it, and the public keys that EHRs check us by.

    Needs MEDAGENT_EHRS_FILE, and MEDAGENT_PUBLIC_URL where others than this machine reach it. TLS ends in front of it.
    """
    from medagent_workflows.web import serving  # noqa: PLC0415 - loaded when run, so that --help stays quick

    serving.serve(host=host, port=port)


@app.command()
def show(
    dossier: Annotated[str, typer.Argument(metavar="ID", help="Id of a stored run.")],
    output_format: FormatOption = OutputFormat.TEXT,
    out: OutOption = None,
) -> None:
    """Show a stored run again. Looking is audited."""
    from medagent_workflows import run_commands  # noqa: PLC0415 - loaded when run, so that --help stays quick

    run_commands.show(dossier, as_json=output_format is OutputFormat.JSON, out=out)


@audit.command("list")
def audit_list(
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Newest events first.")] = 20,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """List what happened."""
    from medagent_workflows import commands  # noqa: PLC0415 - loaded when run, so that --help stays quick

    commands.audit_list(limit=limit, as_json=output_format is OutputFormat.JSON)


@audit.command("show")
def audit_show(
    event: Annotated[str, typer.Argument(metavar="ID", help="Id of an event.")],
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Show one event with what it committed to."""
    from medagent_workflows import commands  # noqa: PLC0415 - loaded when run, so that --help stays quick

    commands.audit_show(event, as_json=output_format is OutputFormat.JSON)


@audit.command("verify", short_help="Recompute everything; name what does not fit.")
def audit_verify(output_format: FormatOption = OutputFormat.TEXT) -> None:
    """Recompute every record, the tree and the signatures; name what does not fit."""
    from medagent_workflows import commands  # noqa: PLC0415 - loaded when run, so that --help stays quick

    if not commands.audit_verify(as_json=output_format is OutputFormat.JSON):
        raise typer.Exit(FAILED)


@audit.command("keep", short_help="Keep the newest checkpoint outside again.")
def audit_keep() -> None:
    """Keep the newest checkpoint outside of the database again, after its file was lost. This is recorded."""
    from medagent_workflows import commands  # noqa: PLC0415 - loaded when run, so that --help stays quick

    commands.audit_keep()


@models.command("list", short_help="List models, the memory they need, their licence.")
def model_list(output_format: FormatOption = OutputFormat.TEXT) -> None:
    """List the models that the catalogue knows, with the memory they need and their licence."""
    from medagent_workflows import model_commands  # noqa: PLC0415 - loaded when run, so that --help stays quick

    model_commands.list_models(as_json=output_format is OutputFormat.JSON)


@models.command("serve", short_help="Run vLLM with a model, or print the command.")
def model_serve(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the catalogue, or of its repository.")],
    further: Annotated[list[str] | None, typer.Argument(metavar="[-- FLAGS]", help="Passed on to vLLM.")] = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="On this machine only.")] = 8000,
    weights: Annotated[Path | None, typer.Option("--weights", help="Folder that holds them, offline.")] = None,
    run: Annotated[
        bool | None, typer.Option("--run/--print", help="Default: run where vLLM is on PATH, else print.")
    ] = None,
) -> None:
    """Serve a model with vLLM, or print the command that does."""
    from medagent_workflows import model_commands  # noqa: PLC0415 - loaded when run, so that --help stays quick

    model_commands.serve(name, port=port, weights=weights, run=run, further=further or ())


@models.command("check", short_help="Prove that a running server will do.")
def model_check(
    url: Annotated[str | None, typer.Option("--url", help="Of the server. Default: MEDAGENT_MODEL_URL.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Name it is served by. Default: MEDAGENT_MODEL, or the only one.")
    ] = None,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Prove, one by one, that a running server can do what MedAgent needs."""
    from medagent_workflows import model_commands  # noqa: PLC0415 - loaded when run, so that --help stays quick

    if not model_commands.check(url=url, model=model, as_json=output_format is OutputFormat.JSON):
        raise typer.Exit(FAILED)


@ehrs.command("list", short_help="List the EHRs that the site works with.")
def ehr_list(output_format: FormatOption = OutputFormat.TEXT) -> None:
    """List the EHRs of MEDAGENT_EHRS_FILE: what is registered with each, and whether it is read without a launch."""
    from medagent_workflows import ehr_commands  # noqa: PLC0415 - loaded when run, so that --help stays quick

    ehr_commands.list_ehrs(as_json=output_format is OutputFormat.JSON)


@ehrs.command("check", short_help="Prove that an EHR will do, step by step.")
def ehr_check(
    named: Annotated[str, typer.Argument(metavar="NAME|URL", help="Of the registry, or any FHIR base URL.")],
    patient: Annotated[
        str | None, typer.Option("--patient", help="Id of a patient to read as a proof; nothing of it is shown.")
    ] = None,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Prove, step by step, that an EHR can do what launches and runs need, and say what to do where it cannot.

    What is asked of its FHIR server is recorded as runs are.
    """
    from medagent_workflows import ehr_commands  # noqa: PLC0415 - loaded when run, so that --help stays quick

    if not ehr_commands.check(named, patient=patient, as_json=output_format is OutputFormat.JSON):
        raise typer.Exit(FAILED)


@ehrs.command("rotate-keys", short_help="Add new keys to sign with; say what is next.")
def ehr_rotate_keys(output_format: FormatOption = OutputFormat.TEXT) -> None:
    """Add new keys that we sign with towards EHRs. They are published at once and used a little later."""
    from medagent_workflows import ehr_commands  # noqa: PLC0415 - loaded when run, so that --help stays quick

    ehr_commands.rotate_keys(as_json=output_format is OutputFormat.JSON)


@database.command("upgrade")
def database_upgrade() -> None:
    """Bring the database to this version."""
    from medagent_workflows import commands  # noqa: PLC0415 - loaded when run, so that --help stays quick

    commands.database_upgrade()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits. Our own errors become one clear line; anything else is a fault and shows itself."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without some of our signs shows question marks
    try:
        app(args=list(arguments) if arguments is not None else None)
    except UsageError as error:
        _complain(error)
        sys.exit(WRONG_USE)
    except MedAgentError as error:
        _complain(error)
        sys.exit(FAILED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone; the interpreter must not complain about it at exit
        sys.exit(FAILED)


def _complain(error: MedAgentError) -> None:
    """One line. Names of files are a stranger's, and a terminal acts on some signs."""
    if sys.stderr is None:  # closed before we started
        return
    line = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in str(error))
    sys.stderr.write(f"medagent: {line}\n")
