"""Where an image's pixels lie on the earth."""

from dataclasses import dataclass

import numpy as np

WGS84 = "EPSG:4326"
SEMI_MAJOR_AXIS, ECCENTRICITY_2 = 6378137.0, 6.69437999014e-3  # of WGS84's ellipsoid, metres


@dataclass(frozen=True)
class GeoReference:
    """A coordinate reference system, and the way from pixels to it.

    Attributes:
        crs: "EPSG:32633", or its well-known text.
        transform: (a, b, c, d, e, f): the point (x, y) in edges of pixels (the image's first corner
            is (0, 0)) lies at (a x + b y + c, d x + e y + f).
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]

    def to_lonlat(self, points: np.ndarray) -> np.ndarray:
        """Bring points from pixels to degrees of longitude and latitude (WGS84).

        Args:
            points: (..., 2), x and y in edges of pixels.

        Returns:
            float64 (..., 2), longitude in -180..180 and latitude.

        Raises:
            ValueError: the system does not reach that far.
        """
        from rasterio.warp import transform  # its reader found the system, so it is installed

        a, b, c, d, e, f = self.transform
        x, y = points[..., 0], points[..., 1]
        eastings, northings = a * x + b * y + c, d * x + e * y + f
        lonlat = transform(self.crs, WGS84, eastings.ravel(), northings.ravel())
        degrees = np.array(lonlat, dtype=np.float64).T.reshape(points.shape)
        if not np.isfinite(degrees).all():
            raise ValueError(f"points beyond what {self.crs} covers: mend the image's transform")
        return degrees


def side_lengths(lonlat: np.ndarray) -> np.ndarray:
    """Return the sides of small polygons on WGS84's ellipsoid.

    The radii of curvature at a polygon's centre are taken for all of it, which is right to a
    millionth for objects of some hundred metres.

    Args:
        lonlat: (N, K, 2) degrees.

    Returns:
        (N, K) metres, from corner k to the next one.
    """
    latitude = np.radians(lonlat[..., 1].mean(axis=1))  # [N]
    w2 = 1 - ECCENTRICITY_2 * np.sin(latitude) ** 2
    east_radius = SEMI_MAJOR_AXIS / np.sqrt(w2) * np.cos(latitude)
    north_radius = SEMI_MAJOR_AXIS * (1 - ECCENTRICITY_2) / w2**1.5
    steps = np.radians(np.roll(lonlat, -1, axis=1) - lonlat)  # [N, K, 2]
    steps[..., 0] = (steps[..., 0] + np.pi) % (2 * np.pi) - np.pi  # across the date line
    return np.hypot(steps[..., 0] * east_radius[:, None], steps[..., 1] * north_radius[:, None])
