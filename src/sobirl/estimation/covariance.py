"""Covariances of estimates: from the curvature of the likelihood, from its scores, or both.

With H = -∂²log L/∂θ², scores s_i = ∂log L_i/∂θ of the observations, and the first stage's part
d_i = -(∂²log L/∂θ∂ψ) · influence_i of ψ̂ on the second (0 where transitions are known):

    hessian    H⁻¹
    opg        (Σ s_i s_iᵀ)⁻¹, the outer products of Berndt, Hall, Hall and Hausman
    sandwich   H⁻¹ Σ (s_i - d_i)(s_i - d_i)ᵀ H⁻¹
    cluster    the same with the sums over each unit, times G/(G - 1)

To `hessian` and `opg`, here B, Murphy and Topel add B Σ(d_i d_iᵀ - s_i d_iᵀ - d_i s_iᵀ) B.

Sources: Murphy and Topel, Journal of Business & Economic Statistics 3 (1985), theorem 1; Newey and
McFadden, Handbook of Econometrics 4 (1994), section 6.
"""

import numpy as np
from jaxtyping import Float, Int

from sobirl.core.errors import InvalidInputError
from sobirl.estimation.law import Seen

COV_TYPES = ("hessian", "opg", "sandwich", "cluster")
FIRST_STAGES = ("murphy-topel", "fixed", "joint")


def covariance(
    information: Float[np.ndarray, "n n"],
    scores: Float[np.ndarray, "N n"],
    first: Float[np.ndarray, "N n"] | None,
    unit: Int[np.ndarray, "N"],
    cov_type: str,
) -> Float[np.ndarray, "n n"]:
    """The covariance of θ̂.

    Args:
        information: H, or the part of it over the free parameters.
        scores: s_i.
        first: d_i; None to take transitions as known.
        unit: whose observation each is.
        cov_type: one of `COV_TYPES`.

    Raises:
        InvalidInputError: another type, or clusters of which there are too few.
    """
    check_cov_type(cov_type)
    if cov_type in ("hessian", "opg"):
        bread = inverse(information if cov_type == "hessian" else scores.T @ scores)
        if first is None:
            return bread
        cross = scores.T @ first
        return bread + bread @ (first.T @ first - cross - cross.T) @ bread
    bread = inverse(information)
    corrected = scores if first is None else scores - first
    if cov_type == "cluster":
        units, of_unit = np.unique(unit, return_inverse=True)
        if len(units) <= len(information):
            raise InvalidInputError(
                f"cov_type: 'cluster' needs more units than parameters, got {len(units)} units and "
                f"{len(information)} parameters"
            )
        sums = np.zeros((len(units), scores.shape[1]))
        np.add.at(sums, of_unit, corrected)
        corrected = sums * np.sqrt(len(units) / (len(units) - 1))
    return bread @ (corrected.T @ corrected) @ bread


def first_stage_part(
    cross: Float[np.ndarray, "n R K"], psi: Float[np.ndarray, "R K"], seen: Seen, rows: int
) -> Float[np.ndarray, "N n"]:
    """d_i of a component: what each transition that was seen moves θ̂'s equation by.

    The influence of a transition on its row of frequencies is (e_k - ψ_r)/n_r.
    """
    centered = cross - np.einsum("nrk,rk->nr", cross, psi)[:, :, None]
    part = np.zeros((rows, len(cross)))
    moved = (centered[:, seen.row, seen.place] / seen.totals[seen.row]).T
    np.add.at(part, seen.observation, moved)
    return part


def inverse(matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """The inverse of a positive definite matrix, whatever its rows' scales; NaN if singular."""
    scale = 1 / np.sqrt(np.where(np.diag(matrix) > 0, np.diag(matrix), 1.0))
    scaled = scale[:, None] * matrix * scale
    try:
        return scale[:, None] * np.linalg.inv((scaled + scaled.T) / 2) * scale
    except np.linalg.LinAlgError:
        return np.full_like(matrix, np.nan)


def check_cov_type(cov_type: str) -> None:
    """Raise unless there is such a covariance."""
    if cov_type not in COV_TYPES:
        raise InvalidInputError(
            f"cov_type: expected one of {', '.join(COV_TYPES)}, got {cov_type!r}"
        )
