"""Drawing clips in which only the motion tells the class.

Each clip shows two random shapes on a smooth background. What one frame shows (places, sizes, angles and
colours) has the same distribution in every class and at every time: places live on a torus (what leaves on
one side comes back on the other), angles on a circle, sizes on a cycle (what has grown to the end fades out
and starts again small), and all three start uniformly. Motion on such a space keeps the distribution
uniform.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from videomae_train.randomness import keyed_rng

Array = np.ndarray


class Motion(NamedTuple):
    """Directions of a motion, each -1, 0 or 1 times a speed that is drawn per video.

    Attributes:
        right: Along the rows.
        down: Along the columns.
        clockwise: Turning, as the viewer sees it.
        growing: Zoom towards the viewer.
        swings: To and fro instead of steadily.
    """

    right: int = 0
    down: int = 0
    clockwise: int = 0
    growing: int = 0
    swings: bool = False


MOTIONS: dict[str, Motion] = {
    "move_left": Motion(right=-1),
    "move_right": Motion(right=1),
    "move_up": Motion(down=-1),
    "move_down": Motion(down=1),
    "rotate_clockwise": Motion(clockwise=1),
    "rotate_counterclockwise": Motion(clockwise=-1),
    "zoom_in": Motion(growing=1),
    "zoom_out": Motion(growing=-1),
    "oscillate_horizontally": Motion(right=1, swings=True),
    "oscillate_vertically": Motion(down=1, swings=True),
}

# Speeds per frame: slow enough to follow at a stride of 4, fast enough to see in 8 frames at a stride of 2.
_WIDTHS_PER_FRAME = (0.016, 0.026)
_RADIANS_PER_FRAME = (np.radians(3.5), np.radians(6.0))
_CYCLES_PER_FRAME = (1 / 40, 1 / 28)
_SWING_PERIOD_FRAMES = (12.0, 18.0)
_SWING_WIDTHS = (0.10, 0.14)
# A size cycle runs over these radii, as shares of the frame width; two shapes half a cycle and half a torus
# apart never touch and never fade together.
_RADII = (0.14, 0.42)
_NUM_SHAPES = 2
_NUM_ANGLES = 1024  # of the table that holds a shape's outline


class Trajectory(NamedTuple):
    """Where one shape is in each frame.

    Attributes:
        x: (T,) centre, in frame widths, modulo 1.
        y: (T,) centre, in frame heights, modulo 1.
        angle: (T,) radians, clockwise.
        cycle: (T,) place in the size cycle, modulo 1.
    """

    x: Array
    y: Array
    angle: Array
    cycle: Array


def render_motion(motion: str, *, seed: int, number: int, size: int = 64, num_frames: int = 32) -> Array:
    """Draw one video of a motion, before any compression.

    Everything else is drawn without looking at the motion: the same (seed, number) under two motions shows
    the same shapes, colours and background, starting from the same places.

    Args:
        motion: A key of `MOTIONS`.
        seed: Seed of the set.
        number: Number of the video in the set.
        size: Width and height in pixels.
        num_frames: T.

    Returns:
        uint8 (T, size, size, 3), RGB.
    """
    appearance = keyed_rng(seed, number, "synthetic appearance")
    trajectories = sample_trajectories(
        MOTIONS[motion], num_frames, keyed_rng(seed, number, "synthetic motion")
    )
    background, palette = _sample_colours(size, appearance)
    canvas = np.broadcast_to(background, (num_frames, size, size, 3)).copy()
    for trajectory, (fill, rim) in zip(trajectories, palette, strict=True):
        _paint(canvas, trajectory, sample_outline(appearance), fill, rim)
    return (canvas * 255 + 0.5).astype(np.uint8)


def sample_trajectories(motion: Motion, num_frames: int, rng: np.random.Generator) -> tuple[Trajectory, ...]:
    """Draw where the shapes start and how fast they move; all shapes of a video move alike.

    Args:
        motion: Directions.
        num_frames: T.
        rng: The only source of randomness; the draws do not depend on the motion.
    """
    start_x, start_y, start_angle, start_cycle, swing_start = rng.uniform(size=5)
    speed, spin, growth, period, reach = (
        rng.uniform(*bounds)
        for bounds in (
            _WIDTHS_PER_FRAME,
            _RADIANS_PER_FRAME,
            _CYCLES_PER_FRAME,
            _SWING_PERIOD_FRAMES,
            _SWING_WIDTHS,
        )
    )
    time = np.arange(num_frames, dtype=np.float64)
    shift = reach * np.sin(2 * np.pi * (time / period + swing_start)) if motion.swings else speed * time
    apart = np.arange(_NUM_SHAPES) / _NUM_SHAPES
    return tuple(
        Trajectory(
            x=(start_x + offset + motion.right * shift) % 1,
            y=(start_y + offset + motion.down * shift) % 1,
            angle=2 * np.pi * (start_angle + offset) + motion.clockwise * spin * time,
            cycle=(start_cycle + offset + motion.growing * growth * time) % 1,
        )
        for offset in apart
    )


def sample_outline(rng: np.random.Generator) -> Array:
    """Draw a polygon, star, ellipse or blob (never a disc) as the distance of its edge from its centre.

    No outline repeats itself in a turn of less than 72 degrees; the fastest turn is 24 degrees in 4 frames.

    Returns:
        float64 (A,), edge distance in [0, 1] at angle 2 pi a / A; the largest is 1.
    """
    theta = np.arange(_NUM_ANGLES) * (2 * np.pi / _NUM_ANGLES)
    kind = rng.integers(4)
    if kind == 0:  # triangle, square, pentagon, or kite-like when the corners differ
        corners = np.ones(int(rng.integers(3, 6))) * np.where(rng.uniform() < 0.5, 1.0, 0.8)
        corners[0] = 1.0
        outline = _polygon(theta, corners)
    elif kind == 1:  # star
        points = int(rng.integers(3, 6))
        outline = _polygon(theta, np.tile([1.0, rng.uniform(0.38, 0.55)], points))
    elif kind == 2:  # ellipse
        slim = rng.uniform(0.4, 0.6)
        outline = slim / np.hypot(slim * np.cos(theta), np.sin(theta))
    else:  # blob
        waves = np.arange(1, 5)[:, None]
        heights = rng.normal(size=(4, 1)) * np.array([[0.12], [0.3], [0.3], [0.15]])
        bumps = (heights * np.cos(waves * theta + rng.uniform(0, 2 * np.pi, size=(4, 1)))).sum(0)
        outline = np.exp(bumps * (0.22 / bumps.std()))
    return outline / outline.max()


def _polygon(theta: Array, corners: Array) -> Array:
    """Edge distance of the polygon whose corners stand at equal angles and the given distances."""
    step = 2 * np.pi / len(corners)
    index = (theta // step).astype(int) % len(corners)
    near, far, along = corners[index], corners[(index + 1) % len(corners)], theta - index * step
    return near * far * np.sin(step) / (near * np.sin(along) + far * np.sin(step - along))


def _paint(canvas: Array, trajectory: Trajectory, outline: Array, fill: Array, rim: Array) -> None:
    """Paint one shape with a rim onto float64 (T, S, S, 3) in place; it wraps around the borders."""
    pixels = canvas.shape[1]
    centres = (np.arange(pixels) + 0.5) / pixels
    x, y, angle, cycle = (values[:, None, None] for values in trajectory)
    across = (centres[None, None, :] - x + 0.5) % 1 - 0.5
    down = (centres[None, :, None] - y + 0.5) % 1 - 0.5
    turn = np.arctan2(down, across) - angle
    index = (turn * (_NUM_ANGLES / (2 * np.pi))).astype(np.int32) % _NUM_ANGLES
    radius = _RADII[0] * (_RADII[1] / _RADII[0]) ** cycle
    # Radial distance to the edge times the cosine of the edge's slant: the distance straight across the edge.
    slope = np.gradient(np.log(outline), 2 * np.pi / _NUM_ANGLES)
    depth = (radius * outline[index] - np.hypot(across, down)) / np.hypot(1, slope)[index]
    opacity = np.clip(np.minimum(cycle / 0.15, (1 - cycle) / 0.15), 0, 1)
    # The fill is shaded along the shape's own axis: it shows the turning, and no patch inside is flat, which a target
    # normalised per patch would blow up to noise.
    shade = (across * np.cos(angle) + down * np.sin(angle)) / (2 * radius)
    shaded = np.clip(fill + 0.7 * shade[..., None], 0, 1)
    for colour, inset in ((rim, 0), (shaded, 0.16 * radius)):
        cover = (opacity * np.clip((depth - inset) * pixels + 0.5, 0, 1))[..., None]
        canvas += cover * (colour - canvas)


def _sample_colours(pixels: int, rng: np.random.Generator) -> tuple[Array, list[tuple[Array, Array]]]:
    """Draw a smooth background (S, S, 3) and, for each shape, a fill and a rim that stand out, in [0, 1]."""
    base = rng.uniform(0.3, 0.7)
    # Light and dark corners: a slope that every patch of the background shows well above the codec's noise.
    light_of_corners = rng.permutation([-0.45, -0.15, 0.15, 0.45]).reshape(2, 2, 1)
    corners = np.clip(base + light_of_corners + rng.uniform(-0.15, 0.15, size=(2, 2, 3)), 0, 1)
    ramp = (np.arange(pixels) + 0.5) / pixels
    weights = np.stack([1 - ramp, ramp], axis=1)
    background = np.einsum("yi,xj,ijc->yxc", weights, weights, corners)
    dark, light = np.array([0.06, 0.06, 0.09]), np.array([0.96, 0.96, 0.92])
    palette: list[tuple[Array, Array]] = []
    for _ in range(_NUM_SHAPES):
        strong = rng.permutation([rng.uniform(0.85, 1), rng.uniform(0.1, 0.9), rng.uniform(0, 0.15)])
        palette.append((strong, light if base < 0.5 else dark))
    return background, palette
