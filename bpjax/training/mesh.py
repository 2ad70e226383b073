"""Where arrays lie: a mesh of devices, batches divided over it, parameters by rules over paths."""

import fnmatch
from typing import Any, NamedTuple

import jax
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from bpjax.errors import UserError

AXES = ("data", "fsdp")
"""Rows are divided over both axes; parameters and all that has their shape over the second."""

RULES = (("*/kernel", 0), ("*/embedding", 1), ("*learned/*", 0))
"""Glob over the path of an array in the training state, and which of its axes is divided over fsdp.

The first rule that fits counts. What none names, or fsdp does not divide, is whole on every device.
"""


class Layout(NamedTuple):
    """How a run is laid out over the devices; without a mesh it is on one, and nothing is moved."""

    mesh: Mesh | None = None

    @property
    def devices(self) -> int:
        """How many there are."""
        return self.mesh.size if self.mesh else 1

    @property
    def rows(self) -> NamedSharding:
        """Of an array with a row for each example, on a mesh."""
        return self._over(AXES)

    def part(self, size: int) -> slice:
        """The rows that this process brings to a batch of that size.

        Raises:
          UserError: the devices do not divide it.
        """
        if size % self.devices:
            raise UserError(
                f"config.batch.size is {size}: expected a multiple of {self.devices}, the "
                "devices of the mesh; change it, or config.mesh"
            )
        if self.mesh is None:
            return slice(0, size)
        found = self.rows.addressable_devices_indices_map((size,)).values()
        ends = [place[0].indices(size) for place in found if place]
        return slice(min(start for start, _, _ in ends), max(stop for _, stop, _ in ends))

    def round_up(self, size: int) -> int:
        """The next batch size that the devices divide."""
        return -(-size // self.devices) * self.devices

    def batch(self, part: dict[str, Any]) -> dict[str, Any]:
        """The whole batch, of which this process has a part of the rows."""
        if self.mesh is None:
            return part
        return {
            name: jax.make_array_from_process_local_data(self.rows, value)
            for name, value in part.items()
        }

    def shard(self, tree: PyTree) -> PyTree:
        """Arrays that every process has whole, laid out by `RULES`."""
        if self.mesh is None:
            return tree
        return jax.jit(lambda x: x, out_shardings=self.shardings(tree))(tree)

    def constrain(self, tree: PyTree) -> PyTree:
        """The same inside a compiled function."""
        if self.mesh is None:
            return tree
        return jax.lax.with_sharding_constraint(tree, self.shardings(tree))

    def collect(self, tree: PyTree) -> PyTree:
        """Inside a compiled function, whole on every device what `shard` divided.

        Left to itself, XLA may divide activations as the kernels are, and sends those instead.
        """
        if self.mesh is None:
            return tree
        return jax.lax.with_sharding_constraint(tree, self._over())

    def undivided(self, tree: PyTree) -> list[str]:
        """Paths of the arrays that a rule names and fsdp does not divide."""
        return [
            name
            for name, leaf in named_leaves(tree)
            if (axis := _rule(name)) is not None and not self._divides(leaf, axis)
        ]

    def shardings(self, tree: PyTree) -> PyTree:
        """The sharding of every array on a mesh, by `RULES`."""

        def sharding(path: Any, leaf: Any) -> NamedSharding:
            axis = _rule(_name(path))
            spec: list[str | None] = [None] * jax.numpy.ndim(leaf)
            if axis is not None and self._divides(leaf, axis):
                spec[axis] = AXES[1]
            return self._over(*spec)

        return jax.tree_util.tree_map_with_path(sharding, tree)

    def _over(self, *axes: Any) -> NamedSharding:
        assert self.mesh
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def _divides(self, leaf: Any, axis: int) -> bool:
        shape, parts = jax.numpy.shape(leaf), self.mesh.shape[AXES[1]] if self.mesh else 1
        return axis < len(shape) and shape[axis] % parts == 0


ONE_DEVICE = Layout()


def make_layout(data: int, fsdp: int) -> Layout:
    """The layout over all devices of all processes.

    Args:
      data: devices, or groups of them, that hold the parameters; -1: as many as there are.
      fsdp: devices in each group, over which its parameters are divided.

    Raises:
      UserError: there are more or fewer devices.
    """
    count = jax.device_count()
    groups = count // fsdp if data == -1 else data
    if groups * fsdp != count:
        raise UserError(
            f"config.mesh is data={data}, fsdp={fsdp}: expected a product of {count}, the devices "
            "of this run; change one of them, or set data to -1 and fsdp to one that divides it"
        )
    if count == 1:
        return ONE_DEVICE
    mesh = jax.make_mesh((groups, fsdp), AXES, axis_types=(AxisType.Auto, AxisType.Auto))
    return Layout(mesh)


def gather(tree: PyTree) -> PyTree:
    """Every array whole in every process, on the host where it was divided between processes."""

    def whole(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return multihost_utils.process_allgather(leaf, tiled=True)
        return leaf

    return jax.tree.map(whole, tree)


def named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
    """Every array with its path, such as `params/layer_0/ffn/in/kernel`."""
    return [(_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _rule(name: str) -> int | None:
    return next((axis for glob, axis in RULES if fnmatch.fnmatchcase(name, glob)), None)
