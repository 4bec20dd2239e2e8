"""OpenAI's route for embeddings of texts, so that OpenAI's clients, and tools built on them, work."""

from collections.abc import Mapping

from service.api.task_plan import Planner, TaskPlan
from service.codecs.rows import check_count
from service.errors import InvalidInput
from service.models.registry import Registry
from service.protocol.openai.embeddings import describe_embeddings, read_embeddings
from service.tasks.embed import Options, embed_rows, encode_vectors
from service.tasks.work import SLOW_BYTES, Call, Emit, Limits, Result, run_in_thread
from service.transport.request import Request

EMBEDDINGS = "/v1/embeddings"


def plan_embeddings(request: Request, registry: Registry, limits: Limits) -> TaskPlan:
    """Answer by the task ``embed``. Raises InvalidInput, UnknownModel, NotReady."""
    asked, texts = read_embeddings(request.body)
    check_count(texts, limits.max_rows, "input")
    model = registry.find_for_task("embed", asked.model, None, request)
    if model.manifest.tokens is None:
        raise InvalidInput(f"model: expected one that takes texts, {model.name!r} does not: use /embed")
    options = Options.parse({"encoding": asked.encoding_format, "dimensions": asked.dimensions})

    async def work(emit: Emit | None) -> Result:
        call = Call(options, texts, model.context, limits)
        found = await embed_rows(call, "input")
        size_bytes = sum(vector.nbytes for vector in found.vectors)
        shown = await run_in_thread(lambda: encode_vectors(found.vectors, asked.encoding_format), size_bytes)
        return Result(describe_embeddings(model.name, shown, found.tokens), is_large=size_bytes > SLOW_BYTES)

    return TaskPlan(model, work, rows=len(texts))


PLANNERS: Mapping[str, Planner] = {EMBEDDINGS: plan_embeddings}
