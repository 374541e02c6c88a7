"""A module as the list of its tensor operations, by ``torch.export``.

The module runs on an example, so that Python code on shapes is evaluated: loops over ``x.size()``,
assertions, ``if x.dim() == 3``. The list holds operations of PyTorch's ``aten`` library, the same for
modules and functions, with arguments that the schema of each operation names.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from pyadmm.core.errors import PyadmmError
from pyadmm.training.devices import device_of

EXAMPLES = 2
"""Batch of the example; 1 would be taken for a size that broadcasts."""
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_CALL = re.compile(r"@\d+")


@dataclass
class Arguments:
    """Arguments of one operation by name; those that are not read must have their default."""

    values: dict[str, Any]
    defaults: dict[str, Any]
    taken: set[str] = field(default_factory=set)

    def __getitem__(self, name: str) -> Any:
        self.taken.add(name)
        return self.values[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The argument ``name``, if the operation has one."""
        return self[name] if name in self.values else default

    def unread(self) -> dict[str, Any]:
        """Arguments that matter and that nobody has taken."""
        return {
            name: value
            for name, value in self.values.items()
            if name not in self.taken and value != self.defaults.get(name)
        }


@dataclass(frozen=True)
class Listing:
    """The operations of a module on one example.

    :param graph: its nodes; placeholders are parameters, buffers, constants and the input.
    :param constants: tensors of the placeholders that are no input, by the node's name.
    :param owners: the module's own names of parameters and buffers, by the node's name.
    :param input: name of the input's placeholder.
    :param example: the input ``(N, C, H, W)``, in the shape that the module takes.
    :param note: which of several results the graph gives; empty where there is one.
    """

    graph: fx.Graph
    constants: Mapping[str, Tensor]
    owners: Mapping[str, str]
    input: str
    example: Tensor
    note: str = ""


def listing(model: nn.Module, example: Tensor) -> Listing:
    """What ``model`` does in evaluation mode with ``example`` ``(N, C, H, W)``.

    :raises PyadmmError: naming the layer, where it cannot run on the example, and saying why, where
        its operations depend on values.
    """
    model = unwrapped(model)
    require_open(model)
    if example.dtype in (torch.float16, torch.bfloat16):
        model, example = copy.deepcopy(model).float(), example.float()
    with _in_evaluation_mode(model), _quiet():
        example, given = _shaped_example(model, example)
        note = _which_result(given)
        if not isinstance(given, Tensor):
            model = _with_one_result(model)
        try:
            program = torch.export.export(model, (example,))
        except Exception as error:  # torch.export raises what it likes, and so does a forward
            reason = first_line(error)
            if "data-dependent" in reason:
                reason = (
                    "what it does depends on the values of the images (an if, a mask or an index "
                    f"made of them); make it depend on shapes only ({reason})"
                )
            raise PyadmmError(
                f"model {type(model).__name__}: cannot be traced on an input of shape "
                f"{tuple(example.shape[1:])}: {reason}"
            ) from error
    return _listed(program, example, note)


def logits_among(given: Any) -> Any:
    """What counts as the logits of all that a model gives: the one called so, else the first.

    Models give a tensor, a tuple or list of them (auxiliary classifiers, features), a mapping, or a
    dataclass (as those of Hugging Face do).

    >>> logits_among({"loss": None, "features": 1, "logits": 2}), logits_among((3, 4))
    (2, 3)
    """
    while not isinstance(given, Tensor):
        named = _results(given)
        if not named:
            return given
        given = dict(named).get("logits", named[0][1])
    return given


def _results(given: Any) -> list[tuple[str, Any]]:
    """The results in a container, by name or place; none where it is no container."""
    if isinstance(given, Mapping):
        pairs = [(str(key), value) for key, value in given.items()]
    elif dataclasses.is_dataclass(given) and not isinstance(given, type):
        pairs = [(f.name, getattr(given, f.name)) for f in dataclasses.fields(given)]
    elif isinstance(given, tuple | list):
        names = getattr(given, "_fields", range(len(given)))
        pairs = [(str(name), value) for name, value in zip(names, given, strict=True)]
    else:
        pairs = []
    return [(name, value) for name, value in pairs if value is not None]


def _which_result(given: Any) -> str:
    named = _results(given)
    if len(named) < 2:
        return ""
    counts = "the one called logits" if "logits" in dict(named) else "the first"
    return f"gives {len(named)} results; {counts} counts as the logits, the others are left out"


def _with_one_result(model: nn.Module) -> nn.Module:
    """A module of the same layers that gives the logits alone."""
    inner, one = model.forward, copy.copy(model)
    one.forward = lambda x: logits_among(inner(x))
    return one


def require_open(model: nn.Module) -> None:
    """Refuse modules that hide what they compute, and weights that are none yet.

    :raises PyadmmError: names the layer.
    """
    for path, module in model.named_modules():
        _require_open(f"layer {path}" if path else "model", module)


def _require_open(subject: str, module: nn.Module) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise PyadmmError(
            f"{subject}: a scripted or traced module (torch.jit) does not show its layers; pass "
            "the nn.Module from which it was made"
        )
    if isinstance(
        module, torch.ao.quantization.FakeQuantizeBase | torch.ao.quantization.ObserverBase
    ):
        raise PyadmmError(
            f"{subject}: PyTorch prepared it for quantisation; pass the float module from which it "
            "was made, with the trained weights, or export it to ONNX (--model net.onnx)"
        )
    if ".quantized." in type(module).__module__ and type(module).__module__.startswith("torch."):
        raise PyadmmError(
            f"{subject}: is quantised by PyTorch; pass the float module from which it was made"
        )
    for name, parameter in module.named_parameters(recurse=False):
        if nn.parameter.is_lazy(parameter):
            raise PyadmmError(
                f"{subject}: {type(module).__name__} has no {name} yet; run the module once on an "
                "example before"
            )
        if parameter.is_inference():
            raise PyadmmError(
                f"{subject}: {name} was made in inference mode; build the module outside of it"
            )


def unwrapped(model: Any) -> nn.Module:
    """``model`` without the wrappers of ``torch.compile`` and of parallel training."""
    if isinstance(model, torch.export.ExportedProgram):
        model = model.module()
    if not isinstance(model, nn.Module):
        raise PyadmmError(f"model: must be a torch.nn.Module, not {type(model).__name__}")
    inner = getattr(model, "_orig_mod", None)
    if inner is None and isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner = model.module
    if isinstance(inner, nn.Module):
        return unwrapped(inner)
    if getattr(model, "_compiled_call_impl", None) is not None:  # by model.compile()
        model = copy.copy(model)
        model._compiled_call_impl = None
    return model


def bound(node: fx.Node) -> Arguments:
    """The arguments of a call, by the names in the operation's schema."""
    schema = node.target._schema  # type: ignore[union-attr]
    defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    given = dict(zip((a.name for a in schema.arguments), node.args, strict=False))
    return Arguments({**defaults, **given, **node.kwargs}, defaults)


def operation(node: fx.Node) -> str:
    """Name of the operation without its overload, ``conv2d``."""
    schema = getattr(node.target, "_schema", None)
    name = schema.name if schema is not None else getattr(node.target, "__name__", "")
    return str(name).rpartition("::")[2]


def calling_module(node: fx.Node) -> tuple[str, str]:
    """Path and class of the innermost module that does the operation; empty where unknown."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return "", ""
    path, kind = stack[-1]
    kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return _CALL.sub("", path), kind


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, as plain text."""
    lines = [line.strip() for line in _ANSI.sub("", str(error)).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _listed(program: torch.export.ExportedProgram, example: Tensor, note: str) -> Listing:
    _inline_regions(program)
    signature = program.graph_signature
    owners = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    lifted = dict(signature.inputs_to_lifted_tensor_constants)
    tensors = {**program.state_dict, **program.constants}
    constants = {name: tensors[own] for name, own in {**owners, **lifted}.items()}
    inputs = signature.user_inputs
    return Listing(program.graph, constants, owners, str(inputs[0]), example, note)


def _inline_regions(program: torch.export.ExportedProgram) -> None:
    """Replace what runs under ``autocast`` or ``no_grad`` in a forward by its operations."""
    graph = program.graph
    regions = [n for n in graph.nodes if str(n.target).startswith("wrap_with_")]
    for node in regions:
        place = next(i for i, a in enumerate(node.args) if getattr(a, "op", "") == "get_attr")
        region = getattr(program.graph_module, node.args[place].target)
        inputs = [n for n in region.graph.nodes if n.op == "placeholder"]
        made = dict(zip(inputs, node.args[place + 1 :], strict=True))
        with graph.inserting_before(node):
            outputs = graph.graph_copy(region.graph, made)
        for user in list(node.users):
            user.replace_all_uses_with(outputs[user.args[1]])
            graph.erase_node(user)
        holder = node.args[place]
        graph.erase_node(node)
        graph.erase_node(holder)
    for node in list(graph.nodes):
        if regions and operation(node) == "_assert_tensor_metadata":
            graph.erase_node(node)  # the types are those of the region


@contextlib.contextmanager
def _in_evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Dropout off, norms by their statistics; afterwards as it was."""
    training = [module for module in model.modules() if module.training]
    with contextlib.suppress(NotImplementedError):  # an exported module has one mode for good
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings and tracebacks that PyTorch prints while it exports."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def shape_read(model: nn.Module, shape: tuple[int, int, int]) -> tuple[int, ...]:
    """The shape of an image ``(C, H, W)`` as ``model`` takes it, such as ``(C, L)`` of a line.

    :raises PyadmmError: where it takes none.
    """
    with _in_evaluation_mode(model):
        return tuple(_shaped_example(model, example_of(model, shape))[0].shape[1:])


def _shaped_example(model: nn.Module, example: Tensor) -> tuple[Tensor, Any]:
    """``example`` in the first shape that the model takes, and what it gives for it.

    Axes of one row or column may be left out.
    """
    channels, height, width = example.shape[1:]
    inner: list[tuple[int, ...]] = [(channels, height, width)]
    if height == 1:
        inner.append((channels, width))
    if height == width == 1:
        inner.append((channels,))
    # A module that was exported for one image takes no more.
    shapes = [(count, *shape) for count in (len(example), 1) for shape in inner]
    failure: PyadmmError | None = None
    for shape in shapes:
        shaped = example[: shape[0]].reshape(shape)
        try:
            return shaped, _run(model, shaped)
        except PyadmmError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _run(model: nn.Module, example: Tensor) -> Any:
    """What the model gives; a failure names the innermost layer that was computing."""
    running: list[str] = []
    failed: list[str] = []
    hooks = []

    def enter(path: str) -> Any:
        return lambda *_: running.append(path)

    def leave(*_: Any) -> None:
        running.pop()

    for path, module in model.named_modules():
        if not isinstance(module, torch.jit.ScriptModule):
            hooks += [
                module.register_forward_pre_hook(enter(path)),
                module.register_forward_hook(leave),
            ]
    try:
        return model(example)
    except Exception as error:  # whatever a forward raises
        failed = running[-1:]
        where = f"layer {failed[0]}: " if failed and failed[0] else ""
        raise PyadmmError(
            f"model {type(model).__name__}: cannot be traced on an input of shape "
            f"{tuple(example.shape[1:])}: {where}{first_line(error)}{_hint(error)}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def _hint(error: Exception) -> str:
    """What to do about a forward that fails as ``error`` says, where that is known."""
    if "conv1d" in str(error):
        return "; give lines (N, C, L), or maps of one row (N, C, 1, L), with the channels that it reads"
    return ""


def example_of(model: nn.Module, shape: tuple[int, int, int]) -> Tensor:
    """Zeros for the model, where it is."""
    floats = (p for p in model.parameters() if p.is_floating_point())
    dtype = next((p.dtype for p in floats), torch.float32)
    return torch.zeros(EXAMPLES, *shape, device=device_of(model), dtype=dtype)
