"""Routes of feedback: what a person says of an answer, and the cohort that corrections become."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError
from bedside.serve import feedback
from bedside.serve.feedback import Given
from bedside.serve.problems import NotThere
from bedside.serve.reading import from_rows
from bedside.serve.routes import caller_of, served_of, service_of


class Said(BaseModel):
    """Feedback on one answer; `row` is the row that was answered, sent again, so that a correction can be learnt."""

    model_config = ConfigDict(extra="forbid")
    verdict: Literal["accept", "correct", "reject"]
    reason: str = Field("", max_length=2000)
    correction: str | float | None = None
    row: dict[str, Any] | None = None


async def give_feedback(request: Request, position: int, said: Said) -> dict[str, Any]:
    """Accept, correct or reject an answer."""
    service, caller = service_of(request), caller_of(request)
    given = Given(said.verdict, said.reason, said.correction)

    def work() -> tuple[str, int, bool]:
        found = service.audit.get(position) if position < 2**63 else None
        if found is None or found["prediction"] is None:
            raise NotThere("no answer has that number", "it stands with each answer as `audit`")
        served = service.registry.state.find(str(found["release"]))
        feedback.check(given, served)
        row: Cohort | None = None
        if said.row is not None:
            asked = from_rows(served, [said.row], service.config.limits)
            if service.audit.row_digest(asked.raw, 0) != found["input"]:
                raise DataError("that is not the row that was answered", "send it as it was asked, or none")
            if given.correction is not None:
                row = feedback.corrected(served, asked, given.correction, position)
        number = service.feedback.add(position, caller.account, served.digest, given, row)
        return served.digest, number, row is not None

    digest, number, kept = await service.workers.run(work)
    await service.record(caller, "feedback", release=digest, answer=position, number=number, verdict=said.verdict)
    return {"answer": position, "number": number, "verdict": said.verdict, "row_kept": kept}


async def feedback_of(request: Request, digest: str) -> dict[str, Any]:
    """The feedback on a release, newest first."""
    service = service_of(request)
    served = served_of(request, digest)
    return {"feedback": await service.workers.run(lambda: service.feedback.of(served.digest))}


async def corrections(request: Request, digest: str) -> dict[str, Any]:
    """Corrected rows of a release as a new cohort of the workspace's store."""
    service, caller = service_of(request), caller_of(request)
    served = served_of(request, digest)
    made = await service.workers.run(lambda: service.feedback.corrections(served.digest))
    await service.record(caller, "corrections", release=served.digest, cohort=made.digest, rows=len(made))
    return {"cohort": made.digest, "rows": len(made), "subjects": made.n_subjects}


def add_feedback_routes(app: FastAPI) -> None:
    """Put the routes of feedback on the application."""
    app.add_api_route("/answers/{position}/feedback", give_feedback, methods=["POST"])
    app.add_api_route("/releases/{digest}/feedback.json", feedback_of, methods=["GET"])
    app.add_api_route("/releases/{digest}/corrections", corrections, methods=["POST"])
