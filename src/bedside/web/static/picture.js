// An image on true black, with a heat map over it that a slider fades.
const SHOWN = ["image/png", "image/jpeg", "image/bmp"];
// Dark to bright as matplotlib's inferno, so that brighter always means more.
const STOPS = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

export class Picture {
  constructor(place, slider) {
    this.place = place;
    this.slider = slider;
    this.canvas = place.querySelector("canvas");
    this.input = place.querySelector("input[type=file]");
    this.label = place.querySelector("p");
    this.text = this.label.textContent;
    this.clear();
    place.addEventListener("click", () => this.input.click());
    place.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        this.input.click();
      }
    });
    this.input.addEventListener("click", (event) => event.stopPropagation());
    this.input.addEventListener("change", () => this.input.files[0] && this.fromFile(this.input.files[0]));
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
      place.addEventListener(kind, (event) => {
        event.preventDefault();
        place.classList.toggle("over", kind === "dragenter" || kind === "dragover");
      });
    }
    place.addEventListener("drop", (event) => event.dataTransfer.files[0] && this.fromFile(event.dataTransfer.files[0]));
    slider.addEventListener("input", () => this.draw());
  }

  clear() {
    this.base64 = this.image = this.map = null;
    this.canvas.hidden = true;
    this.label.hidden = false;
    this.label.textContent = this.text;
    this.slider.closest("label").hidden = true;
  }

  async fromFile(file) {
    const bytes = new Uint8Array(await file.arrayBuffer());
    let text = "";
    for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
    await this.take(btoa(text), new Blob([bytes], { type: file.type }));
    if (!SHOWN.includes(file.type)) this.label.textContent = file.name;
  }

  async fromBase64(base64) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    await this.take(base64, new Blob([bytes]));
  }

  async take(base64, blob) {
    this.clear();
    this.base64 = base64;
    try {
      this.image = await createImageBitmap(blob);
    } catch {
      return; // a DICOM or NumPy file: it is answered, though the browser cannot show it
    }
    this.label.hidden = true;
    this.canvas.hidden = false;
    const scale = Math.max(1, Math.floor(512 / Math.max(this.image.width, this.image.height)));
    this.canvas.width = this.image.width * scale;
    this.canvas.height = this.image.height * scale;
    this.draw();
  }

  /** Lay a map (rows of values in 0..1 over the square that holds the image) on the image; null takes it away. */
  overlay(map) {
    this.map = map && this.image ? coloured(map) : null;
    this.slider.closest("label").hidden = !this.map;
    if (this.image) this.draw();
  }

  draw() {
    const { width, height } = this.canvas;
    const context = this.canvas.getContext("2d");
    context.globalAlpha = 1;
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    context.imageSmoothingEnabled = this.image.width >= 128;
    context.drawImage(this.image, 0, 0, width, height);
    this.slider.nextElementSibling.textContent = `${this.slider.value}%`;
    if (!this.map) return;
    const side = Math.max(width, height);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.globalAlpha = Number(this.slider.value) / 100;
    context.drawImage(this.map, (width - side) / 2, (height - side) / 2, side, side);
  }
}

/** A map as a canvas of its own size: colour by value, and the more opaque the higher. */
function coloured(map) {
  const canvas = document.createElement("canvas");
  canvas.height = map.length;
  canvas.width = map[0].length;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  map.flat().forEach((value, i) => {
    const at = Math.min(value, 0.9999) * (STOPS.length - 1);
    const [from, to, share] = [STOPS[Math.floor(at)], STOPS[Math.floor(at) + 1], at % 1];
    for (let c = 0; c < 3; c += 1) pixels.data[4 * i + c] = from[c] + share * (to[c] - from[c]);
    pixels.data[4 * i + 3] = 255 * Math.min(1, 1.6 * value);
  });
  context.putImageData(pixels, 0, 0);
  return canvas;
}
