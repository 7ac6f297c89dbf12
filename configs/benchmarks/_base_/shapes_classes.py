"""The 12 species of Shapes (contour and texture) in the order of their ids, with colours to show."""

shapes_classes = (
    "star_striped", "star_dotted", "star_checked", "heart_striped", "heart_dotted", "heart_checked",
    "moon_striped", "moon_dotted", "moon_checked", "clover_striped", "clover_dotted",
    "clover_checked",
)  # fmt: skip
shapes_palette = [
    (220, 20, 60), (119, 11, 32), (255, 77, 255), (0, 0, 142), (0, 0, 230), (106, 0, 228),
    (0, 60, 100), (0, 80, 100), (0, 182, 199), (107, 142, 35), (0, 125, 92), (250, 170, 30),
]  # fmt: skip
shapes_segments = ("background", *shapes_classes)
shapes_segment_palette = [(0, 0, 0), *shapes_palette]
